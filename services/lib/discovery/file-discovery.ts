// Targets from files: patterns are expanded, files are read when they change and at a regular interval. A file that cannot be
// read as targets keeps its last good ones, so that a half-written file stops nothing; a file that is gone takes them along.
import { type FSWatcher, watch } from 'node:fs';
import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { DiscoveryConfigs, TargetGroup } from '../runtime/config/discovery-config.ts';
import type { GroupSource, GroupSourceDeps } from './group-source.ts';
import { parseTargetFile } from './target-file.ts';

/** Quiet time after a change before files are read: editors and config map updates make several changes at once. */
const SETTLE_MS = 100;
/** Most files that patterns may name: a pattern on the wrong folder must not read a disk. */
const FILES_MAX = 10_000;

interface ReadFile {
  readonly text: string;
  readonly groups: readonly TargetGroup[];
}

/** One `file_sd_configs` item at work. */
export class FileDiscovery implements GroupSource {
  readonly #config: DiscoveryConfigs['fileSdConfigs'][number];
  readonly #deps: GroupSourceDeps;
  readonly #stopping = new AbortController();
  readonly #watchers = new Map<string, FSWatcher>();
  #files = new Map<string, ReadFile>();
  /** By file or pattern, of the last refresh. */
  readonly #problems = new Map<string, string>();
  #settling: NodeJS.Timeout | undefined;
  #refreshing: Promise<void> | undefined;
  #again = false;
  #loop: Promise<void> | undefined;

  constructor(config: DiscoveryConfigs['fileSdConfigs'][number], deps: GroupSourceDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  /** Resolves once all files have been read a first time. */
  async start(): Promise<void> {
    await this.#refresh();
    this.#watchFolders();
    this.#loop = this.#refreshRegularly();
  }

  /** Groups in the order of file names. */
  groups(): readonly TargetGroup[] {
    return [...this.#files.keys()].toSorted().flatMap((file) => [...this.#files.get(file)!.groups]);
  }

  problems(): readonly string[] {
    return [...this.#problems].map(([file, reason]) =>
      reason.startsWith(file) ? reason : `${file}: ${reason}`,
    );
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    clearTimeout(this.#settling);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    await this.#refreshing;
    await this.#loop;
  }

  async #refreshRegularly(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#deps.clock.sleep(this.#config.refreshIntervalMs, signal);
      } catch {
        return;
      }
      await this.#refresh();
      this.#watchFolders();
    }
  }

  #watchFolders(): void {
    for (const pattern of this.#config.files) {
      const folder = path.dirname(pattern);
      if (this.#watchers.has(folder) || this.#stopping.signal.aborted) continue;
      try {
        const watcher = watch(folder, { persistent: false }, () => this.#settle());
        watcher.on('error', () => {
          watcher.close();
          this.#watchers.delete(folder);
        });
        this.#watchers.set(folder, watcher);
      } catch {
        // The folder is not there yet: the regular refresh tries again.
      }
    }
  }

  #settle(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => void this.#refresh(), SETTLE_MS);
  }

  /** One refresh at a time; a change during one is followed by another. */
  async #refresh(): Promise<void> {
    if (this.#refreshing !== undefined) {
      this.#again = true;
      await this.#refreshing;
      return;
    }
    this.#refreshing = this.#readAll().finally(() => {
      this.#refreshing = undefined;
      if (this.#again && !this.#stopping.signal.aborted) {
        this.#again = false;
        this.#settle();
      }
    });
    await this.#refreshing;
  }

  async #readAll(): Promise<void> {
    const before = this.#files;
    this.#problems.clear();
    const files = new Map<string, ReadFile>();
    let changed = false;
    for (const file of await this.#expand()) {
      const old = before.get(file);
      const read = await this.#readOne(file, old);
      if (read === undefined) continue;
      files.set(file, read);
      changed ||= read !== old;
    }
    changed ||= files.size !== before.size;
    this.#files = files;
    if (changed && !this.#stopping.signal.aborted) this.#deps.onChange();
  }

  async #expand(): Promise<ReadonlySet<string>> {
    const files = new Set<string>();
    for (const pattern of this.#config.files) {
      if (!pattern.includes('*')) {
        files.add(pattern);
        continue;
      }
      for await (const file of glob(pattern)) {
        if (files.size >= FILES_MAX) {
          this.#report(pattern, `names more than ${FILES_MAX} files; the rest is left out`);
          return files;
        }
        files.add(file);
      }
    }
    return files;
  }

  /** The groups of a file; those of before when its text is the same or not understood. */
  async #readOne(file: string, old: ReadFile | undefined): Promise<ReadFile | undefined> {
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (caught) {
      const gone = (caught as NodeJS.ErrnoException).code === 'ENOENT';
      this.#report(file, gone ? 'is not there' : describe(caught));
      return gone ? undefined : old;
    }
    if (old?.text === text) return old;
    try {
      return { text, groups: parseTargetFile(text, file) };
    } catch (caught) {
      this.#report(file, describe(caught));
      return old;
    }
  }

  #report(file: string, reason: string): void {
    this.#problems.set(file, reason);
    this.#deps.onError();
    this.#deps.logger.warn({ file, reason }, 'target file not read, its last good targets stay');
  }
}

function describe(caught: unknown): string {
  return caught instanceof Error ? caught.message : String(caught);
}
