// The disk as an argument: what engines need of a file system, so that a simulated one can lose un-synced bytes, tear
// writes, fill up or fail at will. `systemDisk` is the machine's own.
import { fdatasync, write } from 'node:fs';
import { constants, type FileHandle, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import path from 'node:path';

/** An open file. Calls do not overlap unless said so; errors come as the system's (`code`: ENOSPC, EIO …). */
export interface DiskFile {
  /** Writes all of bytes[start, end) at `position`. On an error any part of it may have been written. */
  write(bytes: Uint8Array, start: number, end: number, position: number): Promise<void>;
  /** Reads into[start, end) from `position`; returns the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, start: number, end: number, position: number): Promise<number>;
  /** Resolves when all that was written survives a power cut (fdatasync). Never call it again after an error. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  /** Bytes in the file. */
  size(): Promise<number>;
  close(): Promise<void>;
}

/**
 * How a file is opened: `read`; `write` an existing one, reading it too; `create` a new or emptied one; `log` the same, where each write is
 * followed by a sync: a disk may make it durable in one go, and the sync is nothing more then.
 */
export type DiskMode = 'read' | 'write' | 'create' | 'log';

export interface DiskSpace {
  /** Bytes that this process may still write. */
  readonly freeBytes: number;
  /** Bytes of the whole file system. */
  readonly totalBytes: number;
}

export interface Disk {
  /** Makes a folder and those above it, durably: what is synced in a folder is lost with its name. No error when it is there. */
  makeFolder(folder: string): Promise<void>;
  /** Names in a folder, sorted; none when the folder is not there. */
  list(folder: string): Promise<string[]>;
  open(file: string, mode: DiskMode): Promise<DiskFile>;
  /** Replaces `to` at once. Durable after syncFolder of the folder. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder with all that is in it; no error when it is not there. */
  remove(file: string): Promise<void>;
  /** Makes creations, renames and removals in the folder survive a power cut. */
  syncFolder(folder: string): Promise<void>;
  space(folder: string): Promise<DiskSpace>;
}

/** The machine's own disk. */
export const systemDisk: Disk = {
  async makeFolder(folder) {
    const whole = path.resolve(folder);
    const topmost = await mkdir(whole, { recursive: true });
    if (topmost === undefined) return;
    // The name of the topmost new one is in a folder that was there before.
    for (let made = whole; made.length >= topmost.length; made = path.dirname(made)) {
      await systemDisk.syncFolder(path.dirname(made));
    }
  },
  async list(folder) {
    try {
      return (await readdir(folder)).sort();
    } catch (caught) {
      if (isAbsence(caught)) return [];
      throw caught;
    }
  },
  async open(file, mode) {
    const { O_RDONLY, O_RDWR, O_CREAT, O_TRUNC } = constants;
    // A write and its sync as one call of the system take three quarters of the time and of the CPU. Not every system has it.
    const durable = mode === 'log' ? (constants.O_DSYNC as number | undefined) : undefined;
    const flags =
      mode === 'read' ? O_RDONLY : mode === 'write' ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC | (durable ?? 0);
    return createDiskFile(await open(file, flags, 0o640), durable !== undefined);
  },
  rename,
  async remove(file) {
    await rm(file, { recursive: true, force: true });
  },
  async syncFolder(folder) {
    const handle = await open(folder, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  async space(folder) {
    const { bavail, blocks, bsize } = await statfs(folder);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
};

/**
 * Bytes go through the descriptor: a FileHandle's own promises cost three times as much, for every commit of the log.
 *
 * @param isDurable  What was written survives a power cut without a sync.
 */
function createDiskFile(handle: FileHandle, isDurable: boolean): DiskFile {
  return {
    write(bytes, start, end, position) {
      return new Promise((resolve, reject) => {
        const writeFrom = (done: number): void => {
          if (done === end) {
            resolve();
            return;
          }
          write(handle.fd, bytes, done, end - done, position + done - start, (error, written) => {
            if (error === null) writeFrom(done + written);
            else reject(error);
          });
        };
        writeFrom(start);
      });
    },
    async read(into, start, end, position) {
      let done = start;
      while (done < end) {
        const { bytesRead } = await handle.read(into, done, end - done, position + done - start);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done - start;
    },
    sync() {
      if (isDurable) return Promise.resolve();
      return new Promise((resolve, reject) => {
        fdatasync(handle.fd, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(error);
        });
      });
    },
    truncate: (length) => handle.truncate(length),
    size: async () => (await handle.stat()).size,
    close: () => handle.close(),
  };
}

function isAbsence(caught: unknown): boolean {
  return caught instanceof Error && 'code' in caught && caught.code === 'ENOENT';
}

/** The system's error code (ENOSPC, EIO …), or undefined. */
export function errorCodeOf(caught: unknown): string | undefined {
  return caught instanceof Error && 'code' in caught && typeof caught.code === 'string'
    ? caught.code
    : undefined;
}

/**
 * Makes `bytes` the content of `folder/name`, whole or not at all whatever happens in between: a temporary file, sync,
 * rename, sync of the folder.
 */
export async function replaceFile(
  disk: Disk,
  folder: string,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = path.join(folder, `${name}.tmp`);
  const file = await disk.open(temporary, 'create');
  try {
    await file.write(bytes, 0, bytes.length, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(temporary, path.join(folder, name));
  await disk.syncFolder(folder);
}

/** The whole file, or undefined when it is larger than `bytesMax`. */
export async function tryReadFile(
  disk: Disk,
  file: string,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const handle = await disk.open(file, 'read');
  try {
    const size = await handle.size();
    if (size > bytesMax) return undefined;
    const bytes = new Uint8Array(size);
    const count = await handle.read(bytes, 0, size, 0);
    return count === size ? bytes : bytes.slice(0, count);
  } finally {
    await handle.close();
  }
}
