// A disk for tests that dies at a chosen operation, as a process does or as a machine without power does: in the latter case
// everything is undone that no sync had made durable. Files are real, so what reads past it sees what it wrote.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Disk, type DiskFile, type DiskMode, systemDisk } from '../../services/lib/core/disk.ts';
import type { Random } from './random.ts';

/** A change of a folder that no sync has made durable yet. */
interface PendingChange {
  /** Folders of which one sync makes it durable: a move is one entry in the journal. */
  readonly folders: readonly string[];
  readonly undo: () => void;
}

export class CrashDisk implements Disk {
  /** Changes made so far, syncs included. */
  operations = 0;
  /** The operation at which it dies: that one has no effect. */
  diesAt = Number.POSITIVE_INFINITY;
  /** For the proof that a missing sync is noticed: syncs of files do nothing. */
  forgetsFileSyncs = false;
  readonly #graveyard: string;
  #buried = 0;
  #pending: PendingChange[] = [];
  /** Content of files at their last sync, of those that were written since. */
  #unsynced = new Map<string, Buffer>();

  /** @param graveyard  An empty folder on the same file system, for what was removed but not durably. */
  constructor(graveyard: string) {
    this.#graveyard = graveyard;
    mkdirSync(graveyard, { recursive: true });
  }

  get isDead(): boolean {
    return this.operations >= this.diesAt;
  }

  /**
   * What a power cut leaves: undoes all that was not synced.
   *
   * @param random  Leaves some of it instead: the older changes of folders, which reach the disk in their order, and of each
   *                file new bytes up to some place, behind it the old ones or zeros.
   */
  cutPower(random?: Random): void {
    const kept = random === undefined ? 0 : Math.floor(random() * (this.#pending.length + 1));
    for (const { undo } of this.#pending.slice(kept).toReversed()) undo();
    this.#pending = [];
    for (const [file, content] of this.#unsynced) {
      if (!existsSync(file)) continue;
      writeFileSync(file, random === undefined ? content : torn(readFileSync(file), content, random));
    }
    this.#unsynced.clear();
  }

  async makeFolder(folder: string): Promise<void> {
    if (existsSync(folder)) return;
    await this.makeFolder(path.dirname(folder));
    this.#operate();
    mkdirSync(folder);
    this.#change([path.dirname(folder)], () => rmSync(folder, { recursive: true, force: true }));
    await this.syncFolder(path.dirname(folder));
  }

  list(folder: string): Promise<string[]> {
    return systemDisk.list(folder);
  }

  space(folder: string) {
    return systemDisk.space(folder);
  }

  async open(file: string, mode: DiskMode): Promise<DiskFile> {
    if (mode === 'read') return systemDisk.open(file, mode);
    this.#operate();
    const isNew = !existsSync(file);
    if (isNew) this.#change([path.dirname(file)], () => rmSync(file, { force: true }));
    this.#touch(file, isNew ? Buffer.alloc(0) : readFileSync(file));
    return this.#track(file, await systemDisk.open(file, mode));
  }

  async rename(from: string, to: string): Promise<void> {
    this.#operate();
    const replaced = existsSync(to) ? this.#bury(to) : undefined;
    renameSync(from, to);
    this.#rebase(from, to);
    this.#change([path.dirname(from), path.dirname(to)], () => {
      renameSync(to, from);
      this.#rebase(to, from);
      if (replaced !== undefined) renameSync(replaced, to);
    });
  }

  async remove(file: string): Promise<void> {
    this.#operate();
    if (!existsSync(file)) return;
    const grave = this.#bury(file);
    this.#change([path.dirname(file)], () => renameSync(grave, file));
  }

  async syncFolder(folder: string): Promise<void> {
    this.#operate();
    this.#pending = this.#pending.filter(({ folders }) => !folders.includes(folder));
  }

  #operate(): void {
    if (this.operations + 1 >= this.diesAt) {
      this.operations = this.diesAt;
      throw Object.assign(new Error(`the disk died at operation ${this.diesAt}`), { code: 'EIO' });
    }
    this.operations++;
  }

  #change(folders: readonly string[], undo: () => void): void {
    this.#pending.push({ folders, undo });
  }

  #bury(file: string): string {
    const grave = path.join(this.#graveyard, String(this.#buried++));
    renameSync(file, grave);
    return grave;
  }

  #touch(file: string, durable: Buffer): void {
    if (!this.#unsynced.has(file)) this.#unsynced.set(file, durable);
  }

  /** What was written to files below `from` is below `to` now. */
  #rebase(from: string, to: string): void {
    for (const [file, content] of [...this.#unsynced]) {
      if (file !== from && !file.startsWith(`${from}${path.sep}`)) continue;
      this.#unsynced.delete(file);
      this.#unsynced.set(to + file.slice(from.length), content);
    }
  }

  #track(file: string, inner: DiskFile): DiskFile {
    return {
      write: async (bytes, start, end, position) => {
        this.#operate();
        this.#touch(file, readFileSync(file));
        await inner.write(bytes, start, end, position);
      },
      read: (into, start, end, position) => inner.read(into, start, end, position),
      sync: async () => {
        this.#operate();
        if (!this.forgetsFileSyncs) this.#unsynced.delete(file);
      },
      truncate: async (length) => {
        this.#operate();
        this.#touch(file, readFileSync(file));
        await inner.truncate(length);
      },
      size: () => inner.size(),
      close: () => inner.close(),
    };
  }
}

/** `written` up to some place; behind it what was durable, and zeros where the file had become longer, or did not. */
function torn(written: Buffer, durable: Buffer, random: Random): Buffer {
  const at = Math.floor(random() * (written.length + 1));
  const length = random() < 0.5 ? Math.max(at, durable.length) : Math.max(written.length, durable.length);
  const left = Buffer.alloc(length);
  durable.copy(left);
  written.copy(left, 0, 0, at);
  return left;
}
