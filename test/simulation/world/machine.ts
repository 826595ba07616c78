// Puts the world where this process' own machine was: clock, timers, randomness and the file system below SIM_ROOT. Done to Node's
// own modules, so that every line of the services runs as it is, down to `systemDisk` and the block files that are opened beside
// it. Only for a process that does nothing but simulate.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import timersPromises from 'node:timers/promises';
import { diskError, SimFile } from './sim-disk.ts';
import {
  currentProcess,
  type Host,
  type ScheduledEvent,
  SIM_ROOT,
  type SimProcess,
  type World,
} from './world.ts';

/** What an unpatched machine gives, for whoever measures the simulation itself. */
export interface Machine {
  /** From now on code runs in this world. */
  use(world: World): void;
}

/** A sync takes this many times its usual at most; one in 50 does. */
const SYNC_SLOW_FACTOR = 8;
const READ_MS_MAX = 0.2;
const FIRST_DESCRIPTOR = 1_000_000;
/** Written under these names, then renamed. */
const KEPT_FOR_STARTS = /\/(placement|done-deletes|undone-deletes)\.json\.tmp$/;

/** Replaces the machine. There is no way back. */
export function installMachine(first: World): Machine {
  let world = first;
  const current = (): World => world;
  installTime(current);
  installRandomness(current);
  installSignals();
  const files = installFiles(current);
  syncBuiltinESMExports();
  return {
    use: (next) => {
      world = next;
      // Killed processes close nothing.
      files.descriptors.clear();
    },
  };
}

class SimTimer {
  event: ScheduledEvent | undefined;

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }
}

function installTime(world: () => World): void {
  const RealDate = Date;
  class SimDate extends RealDate {
    constructor(...args: unknown[]) {
      if (args.length === 0) super(world().wallMs());
      else super(...(args as [number]));
    }

    static override now(): number {
      return world().wallMs();
    }
  }
  globalThis.Date = SimDate as DateConstructor;
  performance.now = () => world().nowMs;
  const start = (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]): SimTimer => {
    const timer = new SimTimer();
    timer.event = world().schedule(Math.max(1, ms), () => run(...args));
    return timer;
  };
  const repeat = (run: (...args: unknown[]) => void, ms = 1, ...args: unknown[]): SimTimer => {
    const timer = new SimTimer();
    const again = (): void => {
      timer.event = world().schedule(Math.max(1, ms), () => {
        again();
        run(...args);
      });
    };
    again();
    return timer;
  };
  const stop = (timer: unknown): void => {
    if (timer instanceof SimTimer && timer.event !== undefined) timer.event.isCancelled = true;
  };
  const soon = (run: (...args: unknown[]) => void, ...args: unknown[]): SimTimer => {
    const timer = new SimTimer();
    timer.event = world().schedule(0, () => run(...args));
    return timer;
  };
  const replaced = {
    ...{ setTimeout: start, setInterval: repeat, setImmediate: soon },
    ...{ clearTimeout: stop, clearInterval: stop, clearImmediate: stop },
  };
  Object.assign(globalThis, replaced);
  Object.assign(timersPromises, {
    setImmediate: <T>(value?: T) =>
      new Promise((resolve) => {
        soon(() => resolve(value));
      }),
    setTimeout: <T>(ms?: number, value?: T) =>
      new Promise((resolve) => {
        start(() => resolve(value), ms);
      }),
  });
}

function installRandomness(world: () => World): void {
  const bytes = (size: number): Buffer =>
    Buffer.from(Array.from({ length: size }, () => world().between(0, 255)));
  Math.random = () => world().random();
  Object.assign(crypto, {
    randomBytes: bytes,
    randomInt: (a: number, b?: number) =>
      b === undefined ? Math.floor(world().random() * a) : a + Math.floor(world().random() * (b - a)),
    randomUUID: () => bytes(16).toString('hex'),
  });
}

/**
 * Node keeps what AbortSignal.any made for as long as a source of it is not aborted: those of killed processes are never, and a seed left
 * 25 MB behind. These live as long as their sources; and nothing of them depends on the garbage collector.
 */
function installSignals(): void {
  AbortSignal.any = (signals: Iterable<AbortSignal>): AbortSignal => {
    const either = new AbortController();
    const sources = [...signals];
    const aborted = sources.find((signal) => signal.aborted);
    if (aborted !== undefined) {
      either.abort(aborted.reason);
      return either.signal;
    }
    const follow = (event: Event): void => {
      for (const source of sources) source.removeEventListener('abort', follow);
      either.abort((event.target as AbortSignal).reason);
    };
    for (const source of sources) source.addEventListener('abort', follow, { once: true });
    return either.signal;
  };
}

/** An open file. */
interface Descriptor {
  readonly file: SimFile;
  readonly path: string;
  /** Each write to it is synced (O_DSYNC). */
  readonly isSynced: boolean;
}

type Change = () => void;

class FileSystem {
  readonly #world: () => World;
  readonly descriptors = new Map<number, Descriptor>();
  #next = FIRST_DESCRIPTOR;

  constructor(world: () => World) {
    this.#world = world;
  }

  /** The host of a path; undefined where the path is the real machine's. */
  hostOf(file: unknown): Host | undefined {
    if (typeof file !== 'string' || !file.startsWith(SIM_ROOT)) return undefined;
    const name = file.slice(SIM_ROOT.length).split('/', 1)[0]!;
    const host = this.#world().hosts.get(name);
    if (host === undefined) throw diskError('ENOENT', file);
    return host;
  }

  openNow(file: string, flags: string | number): number {
    this.mustLive();
    const disk = this.hostOf(file)!.disk;
    const { O_CREAT, O_DSYNC, O_EXCL, O_TRUNC } = fs.constants;
    const bits =
      typeof flags === 'number'
        ? flags
        : flags.startsWith('w')
          ? O_CREAT | (flags.includes('x') ? O_EXCL : O_TRUNC)
          : 0;
    const there = disk.find(file);
    // A folder is opened only to be synced.
    const isCreated = (bits & O_CREAT) !== 0 && !(there instanceof Map);
    const opened = isCreated ? disk.createFile(file, (bits & O_EXCL) !== 0) : there;
    if (opened === undefined) throw diskError('ENOENT', file);
    const descriptor = this.#next++;
    this.descriptors.set(descriptor, {
      file: opened instanceof SimFile ? opened : new SimFile(),
      path: file,
      isSynced: (bits & O_DSYNC) !== 0,
    });
    return descriptor;
  }

  mustBeOpen(descriptor: number): Descriptor {
    const open = this.descriptors.get(descriptor);
    if (open === undefined) throw diskError('EBADF', String(descriptor));
    return open;
  }

  writeNow(descriptor: number, bytes: Uint8Array, position: number): number {
    this.mustLive();
    const { file, path } = this.mustBeOpen(descriptor);
    const { disk } = this.hostOf(path)!;
    const grows = Math.max(0, position + bytes.length - file.length);
    if (disk.reservedBytes === 0 || grows <= disk.freeBytes) {
      file.write(bytes, position);
      return bytes.length;
    }
    const fits = bytes.length - grows + disk.freeBytes;
    if (fits > 0) file.write(bytes.subarray(0, fits), position);
    throw diskError('ENOSPC', path);
  }

  syncNow(descriptor: number): void {
    const { file, path } = this.mustBeOpen(descriptor);
    const { disk } = this.hostOf(path)!;
    if (disk.find(path) instanceof Map) disk.syncFolder(path);
    // With a damaged placement or list of deletes nodes would not start, and the canary would find nothing but that.
    else if (disk.forgetsSyncs && KEPT_FOR_STARTS.test(path)) file.sync();
    else disk.syncFile(file);
  }

  mustLive(): void {
    if (currentProcess()?.isAlive === false) throw diskError('EIO', 'this process is dead');
  }

  /**
   * An operation of the disk: it takes effect at some moment until it is answered, and never answers a dead process.
   *
   * @param ms  How long it takes at most.
   */
  operate<T>(ms: number, work: () => T): Promise<T> {
    const world = this.#world();
    const process: SimProcess | undefined = currentProcess();
    return new Promise((resolve, reject) => {
      if (process?.isAlive === false) return;
      let finish: Change;
      const attempt = (): void => {
        try {
          const result = work();
          finish = () => resolve(result);
        } catch (caught) {
          finish = () => reject(caught);
        }
      };
      const isEarly = world.chance(0.5);
      if (isEarly) attempt();
      world.schedule(ms * world.random(), () => {
        if (!isEarly) attempt();
        finish();
      });
    });
  }

  syncMsOf(descriptor: number): number {
    const { disk } = this.hostOf(this.mustBeOpen(descriptor).path)!;
    return disk.syncMs * (this.#world().chance(0.02) ? SYNC_SLOW_FACTOR : 1);
  }
}

/** What the services use of a FileHandle. */
class SimFileHandle {
  readonly fd: number;
  readonly #files: FileSystem;

  constructor(fd: number, files: FileSystem) {
    this.fd = fd;
    this.#files = files;
  }

  read(into: Uint8Array, offset: number, length: number, position: number) {
    return this.#files.operate(READ_MS_MAX, () => {
      const { file } = this.#files.mustBeOpen(this.fd);
      return { bytesRead: file.read(into.subarray(offset, offset + length), position), buffer: into };
    });
  }

  write(bytes: Uint8Array, offset: number, length: number, position: number) {
    return this.#files.operate(READ_MS_MAX, () => ({
      bytesWritten: this.#files.writeNow(this.fd, bytes.subarray(offset, offset + length), position),
      buffer: bytes,
    }));
  }

  readFile(encoding?: BufferEncoding) {
    return this.#files.operate(READ_MS_MAX, () => wholeOf(this.#files.mustBeOpen(this.fd).file, encoding));
  }

  stat() {
    return this.#files.operate(READ_MS_MAX, () => ({ size: this.#files.mustBeOpen(this.fd).file.length }));
  }

  truncate(length: number) {
    return this.#files.operate(READ_MS_MAX, () => this.#files.mustBeOpen(this.fd).file.truncate(length));
  }

  datasync() {
    return this.#files.operate(this.#files.syncMsOf(this.fd), () => this.#files.syncNow(this.fd));
  }

  sync() {
    return this.datasync();
  }

  async close(): Promise<void> {
    this.#files.descriptors.delete(this.fd);
  }
}

function wholeOf(file: SimFile, encoding?: BufferEncoding): Buffer | string {
  const bytes = Buffer.alloc(file.length);
  file.read(bytes, 0);
  return encoding === undefined ? bytes : bytes.toString(encoding);
}

type AnyFunction = (...args: never[]) => unknown;

/** Replaces functions of a module: `make` answers undefined where the real one is to be called. */
function replace(
  target: object,
  changes: Record<string, (...args: never[]) => unknown>,
  isOurs: (file: unknown) => boolean,
): void {
  for (const [name, change] of Object.entries(changes)) {
    const real = (target as Record<string, AnyFunction>)[name]!;
    (target as Record<string, AnyFunction>)[name] = (...args: never[]) =>
      isOurs(args[0]) ? change(...args) : real.call(target, ...args);
  }
}

function installFiles(world: () => World): FileSystem {
  const files = new FileSystem(world);
  const isOurs = (file: unknown): boolean =>
    typeof file === 'number' ? file >= FIRST_DESCRIPTOR : files.hostOf(file) !== undefined;
  const diskOf = (file: string) => files.hostOf(file)!.disk;
  const remove = (file: string): void => {
    files.mustLive();
    diskOf(file).remove(file);
  };
  const makeFolders = (folder: string): string | undefined => {
    files.mustLive();
    return diskOf(folder).makeFolders(folder);
  };
  replace(
    fs.promises,
    {
      open: async (file: string, flags: string | number = 'r') =>
        new SimFileHandle(await files.operate(READ_MS_MAX, () => files.openNow(file, flags)), files),
      mkdir: (folder: string) => files.operate(READ_MS_MAX, () => makeFolders(folder)),
      readdir: (folder: string) => files.operate(READ_MS_MAX, () => diskOf(folder).names(folder)),
      rename: (from: string, to: string) => files.operate(READ_MS_MAX, () => diskOf(from).rename(from, to)),
      rm: (file: string) => files.operate(READ_MS_MAX, () => remove(file)),
      unlink: (file: string) => files.operate(READ_MS_MAX, () => remove(file)),
      stat: (file: string) =>
        files.operate(READ_MS_MAX, () => ({ size: diskOf(file).mustFindFile(file).length })),
      readFile: (file: string, encoding?: BufferEncoding) =>
        files.operate(READ_MS_MAX, () => wholeOf(diskOf(file).mustFindFile(file), encoding)),
      writeFile: (file: string, content: string | Uint8Array, options?: { flag?: string }) =>
        files.operate(READ_MS_MAX, () => {
          const descriptor = files.openNow(file, options?.flag ?? 'w');
          files.writeNow(descriptor, Buffer.from(content as string), 0);
          files.descriptors.delete(descriptor);
        }),
      statfs: (folder: string) =>
        files.operate(READ_MS_MAX, () => {
          const { freeBytes, totalBytes } = diskOf(folder);
          return { bavail: freeBytes, blocks: totalBytes, bsize: 1 };
        }),
    },
    isOurs,
  );
  replace(
    fs,
    {
      mkdirSync: makeFolders,
      openSync: (file: string, flags: string | number = 'r') => files.openNow(file, flags),
      closeSync: (descriptor: number) => files.descriptors.delete(descriptor),
      readSync: (descriptor: number, into: Uint8Array, offset: number, length: number, position: number) =>
        files.mustBeOpen(descriptor).file.read(into.subarray(offset, offset + length), position),
      writeSync: (
        descriptor: number,
        data: Uint8Array | string,
        offset = 0,
        length?: number,
        position = 0,
      ) => {
        const bytes = typeof data === 'string' ? Buffer.from(data) : data;
        return files.writeNow(
          descriptor,
          bytes.subarray(offset, offset + (length ?? bytes.length)),
          position,
        );
      },
      fsyncSync: (descriptor: number) => files.syncNow(descriptor),
      write: (
        descriptor: number,
        bytes: Uint8Array,
        offset: number,
        length: number,
        position: number,
        done: (error: Error | null, written?: number) => void,
      ) => {
        const writing = files.operate(READ_MS_MAX, () =>
          files.writeNow(descriptor, bytes.subarray(offset, offset + length), position),
        );
        const { isSynced } = files.mustBeOpen(descriptor);
        const durable = async (written: number): Promise<void> => {
          if (isSynced) await files.operate(files.syncMsOf(descriptor), () => files.syncNow(descriptor));
          done(null, written);
        };
        writing.then(durable).catch(done);
      },
      fdatasync: (descriptor: number, done: (error: Error | null) => void) => {
        const syncing = files.operate(files.syncMsOf(descriptor), () => files.syncNow(descriptor));
        syncing.then(() => done(null), done);
      },
      renameSync: (from: string, to: string) => {
        files.mustLive();
        diskOf(from).rename(from, to);
      },
      existsSync: (file: string) => diskOf(file).find(file) !== undefined,
      readFileSync: (file: string, encoding?: BufferEncoding) =>
        wholeOf(diskOf(file).mustFindFile(file), encoding),
      createReadStream: async function* (file: string) {
        const handle = await files.operate(READ_MS_MAX, () => wholeOf(diskOf(file).mustFindFile(file)));
        yield handle;
      },
    },
    isOurs,
  );
  return files;
}
