// A disk in memory that forgets what no sync made durable: bytes of files by sectors, names of folders in the order of their
// changes. It knows nothing of time; machine.ts puts `node:fs` on top of it, so that engines that open files themselves meet it
// as those do that are given a Disk.
import path from 'node:path';
import type { Random } from '../../support/random.ts';

/** Bytes that a power cut keeps or loses together. */
const SECTOR_BYTES = 512;

/** An error as the system gives it. */
export function diskError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}

/** A file, whatever its names. */
export class SimFile {
  length = 0;
  #bytes = new Uint8Array(0);
  /** Sectors written since the last sync, with what they held at it. */
  readonly #unsynced = new Map<number, Uint8Array>();
  /** Those of a sync that failed: they are read as they were written, and no sync writes them unless they are written again. */
  readonly #forgotten = new Map<number, Uint8Array>();
  #durableLength = 0;

  get hasUnsynced(): boolean {
    return this.#unsynced.size + this.#forgotten.size > 0 || this.#durableLength !== this.length;
  }

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#bytes.length, SECTOR_BYTES));
      grown.set(this.#bytes.subarray(0, this.length));
      this.#bytes = grown;
    }
    this.#touch(Math.min(position, this.length), end);
    this.#bytes.set(bytes, position);
    this.length = Math.max(this.length, end);
  }

  read(into: Uint8Array, position: number): number {
    const piece = this.#bytes.subarray(
      Math.min(position, this.length),
      Math.min(position + into.length, this.length),
    );
    into.set(piece);
    return piece.length;
  }

  truncate(length: number): void {
    if (length > this.length) this.write(new Uint8Array(length - this.length), this.length);
    this.#touch(length, this.length);
    this.#bytes.fill(0, length, this.length);
    this.length = length;
  }

  sync(): void {
    this.#unsynced.clear();
    if (this.#forgotten.size === 0) this.#durableLength = this.length;
  }

  /** As Linux does it: the pages count as clean. */
  failSync(): void {
    for (const [sector, old] of this.#unsynced) this.#forgotten.set(sector, old);
    this.#unsynced.clear();
  }

  /** The power went: every sector that was not synced is as it was, or (`random`) some are as they had become. */
  cutPower(random: Random | undefined): void {
    for (const [sector, old] of this.#forgotten) this.#unsynced.set(sector, old);
    this.#forgotten.clear();
    const sectors = [...this.#unsynced.keys()].sort((a, b) => a - b);
    const written = this.length;
    const tornAt = random === undefined ? 0 : Math.floor(random() * (sectors.length + 1));
    const isInOrder = random === undefined || random() < 0.5;
    for (const [index, sector] of sectors.entries()) {
      const isKept = random !== undefined && (isInOrder ? index < tornAt : random() < 0.5);
      if (isKept) continue;
      const start = sector * SECTOR_BYTES;
      const from =
        random !== undefined && isInOrder && index === tornAt ? Math.floor(random() * SECTOR_BYTES) : 0;
      const old = this.#unsynced.get(sector)!;
      this.#bytes.fill(0, start + from, Math.min(start + SECTOR_BYTES, this.#bytes.length));
      if (from < old.length) this.#bytes.set(old.subarray(from), start + from);
    }
    if (random === undefined || random() < 0.5) this.length = this.#durableLength;
    else
      this.length =
        this.#durableLength +
        Math.floor(random() * (Math.max(written, this.#durableLength) - this.#durableLength + 1));
    this.#bytes.fill(0, this.length);
    this.sync();
  }

  /** Flips one bit for good; false for an empty file. */
  rot(random: Random): boolean {
    if (this.length === 0) return false;
    this.#bytes[Math.floor(random() * this.length)]! ^= 1 << Math.floor(random() * 8);
    return true;
  }

  /** Remembers what the sectors of [start, end) held at the last sync. */
  #touch(start: number, end: number): void {
    for (let sector = Math.floor(start / SECTOR_BYTES); sector * SECTOR_BYTES < end; sector++) {
      if (this.#unsynced.has(sector)) continue;
      const forgotten = this.#forgotten.get(sector);
      if (forgotten !== undefined) {
        this.#forgotten.delete(sector);
        this.#unsynced.set(sector, forgotten);
        continue;
      }
      const from = sector * SECTOR_BYTES;
      this.#unsynced.set(
        sector,
        this.#bytes.slice(from, Math.max(from, Math.min(from + SECTOR_BYTES, this.length))),
      );
    }
  }
}

type SimFolder = Map<string, SimNode>;
type SimNode = SimFile | SimFolder;

/** A change of names that no sync has made durable. */
interface PendingChange {
  readonly folders: readonly SimFolder[];
  readonly undo: () => void;
}

/** The files of one host. Paths are absolute. */
export class SimDisk {
  readonly totalBytes: number;
  /** Taken by somebody else: how a disk is filled. */
  reservedBytes = 0;
  /** The nth sync of a file from now fails, once; 0: none does. */
  failingSync = 0;
  /** For the canary: syncs of files do nothing, but for what nodes do not start without (machine.ts). */
  forgetsSyncs = false;
  /** Of a sync of a file, milliseconds. */
  syncMs = 1;
  readonly #root: SimFolder = new Map();
  #pending: PendingChange[] = [];

  readonly #home: string;

  /** @param home  A folder that is there from the beginning. */
  constructor(totalBytes: number, home: string) {
    this.totalBytes = totalBytes;
    this.#home = home;
    this.wipe();
  }

  get usedBytes(): number {
    return bytesIn(this.#root);
  }

  get freeBytes(): number {
    return Math.max(0, this.totalBytes - this.reservedBytes - this.usedBytes);
  }

  /** All files with their paths, in the order of their names. */
  files(): [string, SimFile][] {
    const found: [string, SimFile][] = [];
    const walk = (folder: SimFolder, prefix: string): void => {
      for (const [name, node] of [...folder].sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (node instanceof SimFile) found.push([`${prefix}/${name}`, node]);
        else walk(node, `${prefix}/${name}`);
      }
    };
    walk(this.#root, '');
    return found;
  }

  find(file: string): SimNode | undefined {
    let node: SimNode = this.#root;
    for (const name of partsOf(file)) {
      if (node instanceof SimFile) return undefined;
      const next: SimNode | undefined = node.get(name);
      if (next === undefined) return undefined;
      node = next;
    }
    return node;
  }

  mustFindFile(file: string): SimFile {
    const node = this.find(file);
    if (node === undefined) throw diskError('ENOENT', file);
    if (!(node instanceof SimFile)) throw diskError('EISDIR', file);
    return node;
  }

  /** @param isExclusive  An existing file is an error. */
  createFile(file: string, isExclusive: boolean): SimFile {
    const folder = this.#folderOf(file);
    const name = path.basename(file);
    const there = folder.get(name);
    if (there !== undefined) {
      if (isExclusive) throw diskError('EEXIST', file);
      if (!(there instanceof SimFile)) throw diskError('EISDIR', file);
      there.truncate(0);
      return there;
    }
    const made = new SimFile();
    folder.set(name, made);
    this.#change([folder], () => folder.delete(name));
    return made;
  }

  /** Path of the topmost folder that was made; undefined when all were there. */
  makeFolders(folder: string): string | undefined {
    let topmost: string | undefined;
    let node = this.#root;
    let at = '';
    for (const name of partsOf(folder)) {
      at += `/${name}`;
      const parent = node;
      let next = parent.get(name);
      if (next === undefined) {
        next = new Map<string, SimNode>();
        parent.set(name, next);
        this.#change([parent], () => parent.delete(name));
        topmost ??= at;
      }
      if (next instanceof SimFile) throw diskError('ENOTDIR', at);
      node = next;
    }
    return topmost;
  }

  names(folder: string): string[] {
    const node = this.find(folder);
    if (node === undefined) throw diskError('ENOENT', folder);
    if (node instanceof SimFile) throw diskError('ENOTDIR', folder);
    return [...node.keys()].sort();
  }

  rename(from: string, to: string): void {
    const [source, target] = [this.#folderOf(from), this.#folderOf(to)];
    const [old, fresh] = [path.basename(from), path.basename(to)];
    const node = source.get(old);
    if (node === undefined) throw diskError('ENOENT', from);
    const replaced = target.get(fresh);
    if (replaced instanceof Map && replaced.size > 0) throw diskError('ENOTEMPTY', to);
    source.delete(old);
    target.set(fresh, node);
    this.#change([source, target], () => {
      target.delete(fresh);
      source.set(old, node);
      if (replaced !== undefined) target.set(fresh, replaced);
    });
  }

  /** Removes a file or a folder with all that is in it; false when it is not there. */
  remove(file: string): boolean {
    const node = this.find(file);
    if (node === undefined) return false;
    const folder = this.#folderOf(file);
    const name = path.basename(file);
    folder.delete(name);
    this.#change([folder], () => folder.set(name, node));
    return true;
  }

  syncFile(file: SimFile): void {
    if (this.failingSync > 0 && --this.failingSync === 0) {
      file.failSync();
      throw diskError('EIO', 'sync');
    }
    if (!this.forgetsSyncs) file.sync();
  }

  syncFolder(folder: string): void {
    const node = this.find(folder);
    if (node === undefined) throw diskError('ENOENT', folder);
    this.#pending = this.#pending.filter(({ folders }) => !folders.includes(node as SimFolder));
  }

  /** What a power cut leaves: names changed up to some moment, files as SimFile.cutPower has them. */
  cutPower(random: Random | undefined): void {
    // Of files without a name nobody can ask any more.
    const touched = this.files().filter(([, file]) => file.hasUnsynced);
    const kept = random === undefined ? 0 : Math.floor(random() * (this.#pending.length + 1));
    for (const { undo } of this.#pending.slice(kept).reverse()) undo();
    this.#pending = [];
    const again = new Set([...touched, ...this.files()].map(([, file]) => file));
    for (const file of again) if (file.hasUnsynced) file.cutPower(random);
  }

  /** The disk is gone, and another, empty one in its place. */
  wipe(): void {
    this.#root.clear();
    this.makeFolders(this.#home);
    this.#pending = [];
  }

  #change(folders: readonly SimFolder[], undo: () => void): void {
    this.#pending.push({ folders, undo });
  }

  #folderOf(file: string): SimFolder {
    const node = this.find(path.dirname(file));
    if (node === undefined) throw diskError('ENOENT', path.dirname(file));
    if (node instanceof SimFile) throw diskError('ENOTDIR', path.dirname(file));
    return node;
  }
}

function bytesIn(folder: SimFolder): number {
  let sum = 0;
  for (const node of folder.values()) sum += node instanceof SimFile ? node.length : bytesIn(node);
  return sum;
}

function partsOf(file: string): string[] {
  return file.split('/').filter((part) => part !== '');
}
