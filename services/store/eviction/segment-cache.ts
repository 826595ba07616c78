// Parts of the chunks of evicted blocks on this disk: files of one segment each, `<tenant>/<block id>/<number>`, least recently used first out.
// Nothing is synced: what a crash tears has the wrong length or the wrong checksum, and is fetched again.
import path from 'node:path';
import type { Clock } from '../../lib/core/clock.ts';
import { type Disk, errorCodeOf } from '../../lib/core/disk.ts';
import { toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { isBlockId, isTenantName } from '../../lib/tsdb/block/block-name.ts';
import type { EvictionMetrics } from './eviction-metrics.ts';

/**
 * What is fetched and kept together. A series needs a page or two of 64 KiB raw (some 12 KiB here), so larger ones fetch in vain: for 100 series that
 * lie far apart 11, 17 and 25 MiB with segments of 64, 128 and 256 KiB, in as many requests (eviction.bench.ts). Smaller ones make more files and
 * entries in memory: 80,000 in 10 GiB.
 */
export const SEGMENT_BYTES = 128 * 1024;

export interface BlockOfSegments {
  readonly tenant: string;
  readonly blockId: string;
  /** Bytes of its chunks. */
  readonly chunksBytes: number;
}

interface Entry {
  readonly file: string;
  readonly bytes: number;
  usedAtMs: number;
}

export interface SegmentCacheDeps {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: EvictionMetrics;
}

export class SegmentCache {
  readonly #folder: string;
  readonly #keepFreeBytes: number;
  readonly #deps: SegmentCacheDeps;
  /** By `<tenant>/<block id>/<number>`; insertion order is order of use. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #bytesMax: number;
  /** What comes and what goes, one at a time: the bound is that of the files, at every moment. */
  #turn: Promise<unknown> = Promise.resolve();
  #lastFailure = '';

  /**
   * @param options.bytesMax       Of all segments; see `limitTo`.
   * @param options.keepFreeBytes  Of the disk: what else is written there goes before.
   */
  constructor(
    options: { readonly folder: string; readonly bytesMax: number; readonly keepFreeBytes: number },
    deps: SegmentCacheDeps,
  ) {
    this.#folder = options.folder;
    this.#keepFreeBytes = options.keepFreeBytes;
    this.#bytesMax = options.bytesMax;
    this.#deps = deps;
  }

  /** Most bytes of all segments, as of now. */
  get bytesMax(): number {
    return this.#bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** When the segment that would go first was used, monotonic; undefined when there are none. */
  get oldestUseMs(): number | undefined {
    return this.#entries.values().next().value?.usedAtMs;
  }

  /** Bytes that segments may take from now on; what is above goes with the next one that comes. */
  limitTo(bytesMax: number): void {
    this.#bytesMax = bytesMax;
  }

  /** Finds what is on the disk. Segments of blocks that are not evicted any more go. */
  async load(evicted: readonly BlockOfSegments[]): Promise<void> {
    await this.#find(evicted);
    await this.shrinkTo(this.#bytesMax);
  }

  async #find(evicted: readonly BlockOfSegments[]): Promise<void> {
    const { disk } = this.#deps;
    const known = new Map(evicted.map((block) => [`${block.tenant}/${block.blockId}`, block]));
    for (const tenant of await disk.list(this.#folder)) {
      if (!isTenantName(tenant)) continue;
      for (const blockId of await disk.list(path.join(this.#folder, tenant))) {
        const block = known.get(`${tenant}/${blockId}`);
        if (block === undefined || !isBlockId(blockId))
          await disk.remove(path.join(this.#folder, tenant, blockId));
        else await this.#loadBlock(block);
      }
    }
  }

  has(block: BlockOfSegments, number: number): boolean {
    return this.#entries.has(keyOf(block, number));
  }

  /** The segment; undefined when it is not here, or not whole. */
  async read(block: BlockOfSegments, number: number): Promise<Uint8Array | undefined> {
    const key = keyOf(block, number);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    entry.usedAtMs = this.#deps.clock.monotonicMs();
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    try {
      const file = await this.#deps.disk.open(entry.file, 'read');
      try {
        const bytes = new Uint8Array(entry.bytes);
        if (
          (await file.read(bytes, 0, bytes.length, 0)) === bytes.length &&
          (await file.size()) === bytes.length
        )
          return bytes;
      } finally {
        await file.close();
      }
    } catch (caught) {
      this.#noteFailure(caught, 'read');
    }
    if (this.#entries.get(key) === entry) await this.remove(block, number);
    return undefined;
  }

  /** Keeps a segment, if there is room once older ones went. A disk that refuses costs a fetch more, nothing else. */
  put(block: BlockOfSegments, number: number, bytes: Uint8Array): Promise<void> {
    return this.#exclusively(() => this.#put(block, number, bytes));
  }

  async #put(block: BlockOfSegments, number: number, bytes: Uint8Array): Promise<void> {
    const { disk, clock } = this.#deps;
    if (bytes.length > this.#bytesMax) return;
    await this.#shrinkTo(this.#bytesMax - bytes.length);
    if (!(await this.#hasRoom(bytes.length))) return;
    const key = keyOf(block, number);
    const file = this.#fileOf(block, number);
    const entry = { file, bytes: bytes.length, usedAtMs: clock.monotonicMs() };
    this.#forget(key);
    this.#bytes += bytes.length;
    try {
      await disk.makeFolder(path.dirname(file));
      const output = await disk.open(file, 'create');
      try {
        await output.write(bytes, 0, bytes.length, 0);
      } finally {
        await output.close();
      }
      this.#entries.set(key, entry);
    } catch (caught) {
      this.#bytes -= bytes.length;
      this.#noteFailure(caught, 'written');
      await disk.remove(file).catch(() => undefined);
    }
  }

  /** Where the disk is nearly full, a segment takes the place of another, or is not kept. */
  async #hasRoom(bytes: number): Promise<boolean> {
    const { disk } = this.#deps;
    try {
      await disk.makeFolder(this.#folder);
      const isFull = async () => (await disk.space(this.#folder)).freeBytes < this.#keepFreeBytes + bytes;
      if (!(await isFull())) return true;
      await this.#shrinkTo(Math.max(0, this.#bytes - bytes));
      return !(await isFull());
    } catch (caught) {
      this.#noteFailure(caught, 'written');
      return false;
    }
  }

  async remove(block: BlockOfSegments, number: number): Promise<void> {
    this.#forget(keyOf(block, number));
    await this.#deps.disk.remove(this.#fileOf(block, number)).catch(() => undefined);
  }

  /** Lets the least recently used go until no more than `bytes` are left. */
  shrinkTo(bytes: number): Promise<void> {
    return this.#exclusively(() => this.#shrinkTo(bytes));
  }

  async #shrinkTo(bytes: number): Promise<void> {
    for (const [key, entry] of this.#entries) {
      if (this.#bytes <= bytes) return;
      await this.#deps.disk.remove(entry.file);
      if (this.#entries.get(key) !== entry) continue;
      this.#forget(key);
      this.#deps.metrics.evictions.inc({ kind: 'segment' });
      this.#deps.metrics.evictedBytes.inc({ kind: 'segment' }, entry.bytes);
    }
  }

  #exclusively(change: () => Promise<void>): Promise<void> {
    const mine = this.#turn.then(change);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  /** All segments of a block go: it left, or is not evicted any more. */
  async drop({ tenant, blockId }: Pick<BlockOfSegments, 'tenant' | 'blockId'>): Promise<void> {
    const prefix = `${tenant}/${blockId}/`;
    let had = false;
    for (const key of this.#entries.keys()) {
      if (!key.startsWith(prefix)) continue;
      this.#forget(key);
      had = true;
    }
    if (had) await this.#deps.disk.remove(path.join(this.#folder, tenant, blockId));
  }

  async #loadBlock(block: BlockOfSegments): Promise<void> {
    const { disk } = this.#deps;
    const folder = path.join(this.#folder, block.tenant, block.blockId);
    for (const name of await disk.list(folder)) {
      const number = Number(name);
      const bytes = segmentBytes(block, number);
      if (!/^\d{1,9}$/.test(name) || bytes <= 0) {
        await disk.remove(path.join(folder, name));
        continue;
      }
      // Of a length that is another, the first read will tell.
      this.#entries.set(keyOf(block, number), { file: path.join(folder, name), bytes, usedAtMs: 0 });
      this.#bytes += bytes;
    }
  }

  #forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }

  #fileOf({ tenant, blockId }: BlockOfSegments, number: number): string {
    return path.join(this.#folder, tenant, blockId, String(number));
  }

  #noteFailure(caught: unknown, what: string): void {
    if (errorCodeOf(caught) === 'ENOENT') return;
    const error = toAppError(caught);
    if (error.message === this.#lastFailure) return;
    this.#lastFailure = error.message;
    this.#deps.logger.warn(
      { folder: this.#folder, err: error },
      `a segment of the cache could not be ${what}: object storage is read instead`,
    );
  }
}

/** Bytes of a segment: whole, or what is left of the file. */
export function segmentBytes({ chunksBytes }: BlockOfSegments, number: number): number {
  return Math.min(SEGMENT_BYTES, chunksBytes - number * SEGMENT_BYTES);
}

function keyOf({ tenant, blockId }: BlockOfSegments, number: number): string {
  return `${tenant}/${blockId}/${number}`;
}
