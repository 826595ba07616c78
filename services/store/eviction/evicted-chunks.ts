// The chunks of evicted blocks, as readers of blocks ask for them: by queries through the cache on this disk, each segment fetched once however
// many wait for it; by what reads a block from front to back past the cache.
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { ChunkSource } from '../../lib/tsdb/block/chunk-source.ts';
import type { ChunkFetcher } from './chunk-fetcher.ts';
import type { EvictionMetrics } from './eviction-metrics.ts';
import { type BlockOfSegments, SEGMENT_BYTES, type SegmentCache, segmentBytes } from './segment-cache.ts';

/** Neighbouring segments that one request fetches at most: with it a fetch takes a megabyte of memory. */
const SEGMENTS_PER_FETCH = (1 << 20) / SEGMENT_BYTES;
/** Fetches that one reader waits for at one time; requests of the whole process are bounded where they are made. */
const READS_AT_ONCE = 4;
/** Bytes behind what is read that are fetched ahead at most, of a reader that goes on and on: else each of its reads waits for an answer. */
const AHEAD_BYTES_MAX = 4 << 20;
/** What it gains with each read that follows the one before. */
const AHEAD_BYTES_STEP = 512 << 10;
/** A reader that skips less goes on all the same. */
const GAP_BYTES_MAX = 64 << 10;
/** Bytes that a walk from front to back fetches at one time. */
const SCAN_BYTES = 1 << 20;

/** Neighbouring segments that are on their way. */
interface Flight {
  readonly first: number;
  readonly count: number;
  readonly bytes: Promise<Uint8Array>;
  readonly abandon: AbortController;
  waiting: number;
}

export interface EvictedChunksDeps {
  readonly cache: SegmentCache;
  readonly fetcher: ChunkFetcher;
  readonly metrics: EvictionMetrics;
}

export class EvictedChunks {
  readonly #deps: EvictedChunksDeps;
  /** By `<tenant>/<block id>/<number>`. */
  readonly #flights = new Map<string, Flight>();
  /** Fetched segments that are being written. */
  readonly #storing = new Set<Promise<void>>();

  constructor(deps: EvictedChunksDeps) {
    this.#deps = deps;
  }

  /** For queries. */
  open(meta: BlockMeta): ChunkSource {
    const block = blockOf(meta);
    let [readTo, ahead] = [Number.NaN, 0];
    return {
      readsAtOnce: READS_AT_ONCE,
      read: (into, position, signal) => {
        const isNext = position >= readTo - SEGMENT_BYTES && position <= readTo + GAP_BYTES_MAX;
        ahead = isNext ? Math.min(AHEAD_BYTES_MAX, ahead + AHEAD_BYTES_STEP) : 0;
        readTo = position + into.length;
        const reading = this.#read(meta, block, into, position, signal);
        // Not of the first that follows: two neighbours make no walk.
        if (ahead > AHEAD_BYTES_STEP) this.#fetchAhead(meta, block, readTo, readTo + ahead);
        return reading;
      },
      distrust: async (start, end) => {
        for (let n = Math.floor(start / SEGMENT_BYTES); n * SEGMENT_BYTES < end; n++) {
          this.#deps.metrics.distrusted.inc();
          this.#flights.delete(keyOf(block, n));
          await this.#deps.cache.remove(block, n);
        }
        return true;
      },
      close: () => Promise.resolve(),
    };
  }

  /** For what reads all of it once, from front to back: it must not push out what queries use. */
  openScan(meta: BlockMeta, signal: AbortSignal): ChunkSource {
    const { sizeBytes } = meta.files.chunks;
    let [held, heldAt]: [Uint8Array, number] = [new Uint8Array(0), 0];
    return {
      readsAtOnce: 1,
      read: async (into, position) => {
        let done = 0;
        while (done < into.length && position + done < sizeBytes) {
          const at = position + done;
          if (at < heldAt || at >= heldAt + held.length) {
            held = await this.#deps.fetcher.fetch(meta, at, Math.min(sizeBytes, at + SCAN_BYTES), signal);
            heldAt = at;
          }
          const piece = held.subarray(at - heldAt, at - heldAt + into.length - done);
          into.set(piece, done);
          done += piece.length;
        }
        return done;
      },
      distrust: () => {
        held = new Uint8Array(0);
        return Promise.resolve(true);
      },
      close: () => Promise.resolve(),
    };
  }

  /** Resolves when what was fetched is on the disk. */
  async idle(): Promise<void> {
    while (this.#storing.size > 0) await Promise.all(this.#storing);
  }

  async #read(
    meta: BlockMeta,
    block: BlockOfSegments,
    into: Uint8Array,
    position: number,
    signal = new AbortController().signal,
  ): Promise<number> {
    const end = Math.min(position + into.length, block.chunksBytes);
    if (end <= position) return 0;
    const last = Math.floor((end - 1) / SEGMENT_BYTES);
    const parts: Promise<void>[] = [];
    const take = (bytes: Uint8Array, start: number): void => {
      const from = Math.max(position, start);
      const to = Math.min(end, start + bytes.length);
      if (to > from) into.set(bytes.subarray(from - start, to - start), from - position);
    };
    for (let n = Math.floor(position / SEGMENT_BYTES); n <= last; ) {
      const flight = this.#flights.get(keyOf(block, n));
      if (flight === undefined && this.#deps.cache.has(block, n)) {
        parts.push(this.#readCached(meta, block, n, take, signal));
        n++;
        continue;
      }
      const joined = flight ?? this.#take(meta, block, n, last);
      parts.push(this.#join(joined, block, take, signal));
      n = joined.first + joined.count;
    }
    for (const outcome of await Promise.allSettled(parts))
      if (outcome.status === 'rejected') throw outcome.reason;
    return end - position;
  }

  /** Begins to fetch what is likely to be read next, if the cache can keep it. Nobody waits for it; what fails is fetched again by who does. */
  #fetchAhead(meta: BlockMeta, block: BlockOfSegments, start: number, end: number): void {
    const { cache } = this.#deps;
    if (cache.bytesMax < 2 * AHEAD_BYTES_MAX) return;
    const last = Math.floor((Math.min(end, block.chunksBytes) - 1) / SEGMENT_BYTES);
    for (let n = Math.floor(start / SEGMENT_BYTES); n <= last; n++) {
      if (cache.has(block, n) || this.#flights.has(keyOf(block, n))) continue;
      // A little at a time would make a request of each segment.
      if (last - n + 1 < SEGMENTS_PER_FETCH && last * SEGMENT_BYTES < block.chunksBytes - SEGMENT_BYTES)
        return;
      const flight = this.#take(meta, block, n, last);
      n = flight.first + flight.count - 1;
    }
  }

  async #readCached(
    meta: BlockMeta,
    block: BlockOfSegments,
    number: number,
    take: (bytes: Uint8Array, start: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const bytes = await this.#deps.cache.read(block, number);
    if (bytes !== undefined) {
      this.#deps.metrics.hits.inc();
      take(bytes, number * SEGMENT_BYTES);
      return;
    }
    const flight = this.#flights.get(keyOf(block, number)) ?? this.#take(meta, block, number, number);
    await this.#join(flight, block, take, signal);
  }

  /** Begins to fetch a segment, and those behind it up to `last` that are neither here nor on their way. */
  #take(meta: BlockMeta, block: BlockOfSegments, first: number, last: number): Flight {
    const { cache, fetcher, metrics } = this.#deps;
    let count = 1;
    const isWanted = (n: number) => !cache.has(block, n) && !this.#flights.has(keyOf(block, n));
    while (count < SEGMENTS_PER_FETCH && first + count <= last && isWanted(first + count)) count++;
    metrics.misses.inc(count);
    const start = first * SEGMENT_BYTES;
    const end = Math.min(block.chunksBytes, (first + count) * SEGMENT_BYTES);
    const abandon = new AbortController();
    const bytes = fetcher.fetch(meta, start, end, abandon.signal);
    const flight: Flight = { first, count, bytes, abandon, waiting: 0 };
    for (let i = 0; i < count; i++) this.#flights.set(keyOf(block, first + i), flight);
    const stored = bytes
      .then((fetched) => this.#store(block, flight, fetched))
      .catch(() => undefined)
      .finally(() => {
        this.#land(flight, block);
        this.#storing.delete(stored);
      });
    this.#storing.add(stored);
    return flight;
  }

  async #store(block: BlockOfSegments, { first, count }: Flight, fetched: Uint8Array): Promise<void> {
    for (let i = 0; i < count; i++) {
      const at = i * SEGMENT_BYTES;
      await this.#deps.cache.put(block, first + i, fetched.subarray(at, at + segmentBytes(block, first + i)));
    }
  }

  /** Waits for a flight; who waits last and goes ends it. */
  async #join(
    flight: Flight,
    block: BlockOfSegments,
    take: (bytes: Uint8Array, start: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    throwIfAborted(signal);
    flight.waiting++;
    const { promise: left, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(toAppError(signal.reason));
    signal.addEventListener('abort', leave, { once: true });
    try {
      take(await Promise.race([flight.bytes, left]), flight.first * SEGMENT_BYTES);
    } finally {
      signal.removeEventListener('abort', leave);
      if (--flight.waiting === 0 && signal.aborted) {
        this.#land(flight, block);
        flight.abandon.abort(new AppError('canceled', 'nobody waits for it any more'));
      }
    }
  }

  /** From now on its segments are fetched anew where they are not in the cache. */
  #land(flight: Flight, block: BlockOfSegments): void {
    for (let i = 0; i < flight.count; i++) {
      const key = keyOf(block, flight.first + i);
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    }
  }
}

export function blockOf({ tenant, blockId, files }: BlockMeta): BlockOfSegments {
  return { tenant, blockId, chunksBytes: files.chunks.sizeBytes };
}

const keyOf = ({ tenant, blockId }: BlockOfSegments, number: number): string =>
  `${tenant}/${blockId}/${number}`;
