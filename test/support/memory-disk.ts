// A disk in memory for fuzz tests, where a file system's own time would be most of the run: one flat table of files, nothing
// of durability. Tests of what survives use CrashDisk or real folders.
import path from 'node:path';
import type { Disk, DiskFile } from '../../services/lib/core/disk.ts';

/** @param initial  Whole path → content; not copied, not changed. */
export function memoryDisk(initial: Readonly<Record<string, Uint8Array>>): {
  readonly disk: Disk;
  readonly files: ReadonlyMap<string, Uint8Array>;
} {
  const files = new Map(Object.entries(initial));
  const mustHave = (file: string): Uint8Array => {
    const bytes = files.get(file);
    if (bytes === undefined) throw Object.assign(new Error(`ENOENT: ${file}`), { code: 'ENOENT' });
    return bytes;
  };
  const disk: Disk = {
    makeFolder: () => Promise.resolve(),
    list: (folder) =>
      Promise.resolve(
        [...files.keys()].filter((file) => path.dirname(file) === folder).map((file) => path.basename(file)),
      ),
    open: async (file, mode) => {
      if (mode === 'create' || mode === 'log') files.set(file, new Uint8Array(0));
      mustHave(file);
      return openFile(file);
    },
    rename: async (from, to) => {
      files.set(to, mustHave(from));
      files.delete(from);
    },
    remove: async (file) => {
      files.delete(file);
    },
    syncFolder: () => Promise.resolve(),
    space: () => Promise.resolve({ freeBytes: 2 ** 40, totalBytes: 2 ** 40 }),
  };
  const openFile = (file: string): DiskFile => ({
    write: async (bytes, start, end, position) => {
      const old = mustHave(file);
      const grown = new Uint8Array(Math.max(old.length, position + end - start));
      grown.set(old);
      grown.set(bytes.subarray(start, end), position);
      files.set(file, grown);
    },
    read: async (into, start, end, position) => {
      const piece = mustHave(file).subarray(position, position + end - start);
      into.set(piece, start);
      return piece.length;
    },
    sync: () => Promise.resolve(),
    truncate: async (length) => {
      files.set(file, mustHave(file).slice(0, length));
    },
    size: async () => mustHave(file).length,
    close: () => Promise.resolve(),
  });
  return { disk, files };
}
