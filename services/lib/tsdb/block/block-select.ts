// A running select over one block: finds the series, then hands them over batch by batch, so that the caller decides
// when to send, to pause or to stop. Memory: one batch.
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { CHUNK_EXEMPLARS, CHUNK_START_TIMES, type ChunkSink } from '../../model/chunk-sink.ts';
import type { Matcher } from '../../model/matcher.ts';
import { type PostingsSource, selectPostingsInSteps } from '../postings/select-postings.ts';
import type { ChunkPages } from './chunk-pages.ts';
import { Float64Column, Uint32Column } from './columns.ts';
import type { FoundSeries } from './page-cache.ts';
import { corruptBlock } from './page-codec.ts';
import type { SeriesWalker } from './series-walker.ts';
import { WorkPacer } from './work-pacer.ts';

export interface BlockSelectRequest {
  /** All must match; none means all series. */
  readonly matchers: readonly Matcher[];
  /** Chunks that overlap [minTimeMs, maxTimeMs] are handed over whole; series without one are left out. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Only series of these partitions. Default: all. */
  readonly partitions?: ReadonlySet<number>;
  /** Series without their chunks. */
  readonly labelsOnly?: boolean;
  /** Exemplars instead of samples; series without any are left out. */
  readonly exemplars?: boolean;
  /** Most series; one more is an error. Default: no limit. */
  readonly seriesMax?: number;
  readonly signal?: AbortSignal;
}

/** Pages, and series, of one batch at most: about a megabyte of chunks, a few milliseconds of work. */
const BATCH_PAGES = 16;
const BATCH_SERIES = 1024;
/** Series looked at in one batch, taken or not: scattered ones cost about 3 µs each. */
const BATCH_VISITS = 2048;

export interface SelectParts {
  readonly postings: PostingsSource;
  readonly walker: SeriesWalker;
  readonly pages: ChunkPages;
  /** What selectors found in the block before. */
  readonly found: FoundSeries;
  readonly where: string;
}

export class BlockSelect {
  readonly #request: BlockSelectRequest;
  readonly #parts: SelectParts;
  readonly #pacer: WorkPacer;
  readonly #batch = new SelectBatch();
  #ids: Uint32Array | undefined;
  #position = 0;
  #seriesGiven = 0;

  constructor(request: BlockSelectRequest, parts: SelectParts) {
    this.#request = request;
    this.#parts = parts;
    this.#pacer = new WorkPacer(request.signal);
  }

  /**
   * Hands the next series over, a thousand or a megabyte of chunks of them; false when there are no more.
   * Gives the event loop a turn now and then. After an error nothing more may be asked.
   *
   * @throws CorruptBlockError when a page is damaged: what was handed over before is right, the rest is missing.
   * @throws AppError `execution` over `seriesMax`, `bad_data` on a malformed expression, or the signal's reason.
   */
  async advance(sink: ChunkSink): Promise<boolean> {
    this.#ids ??= await this.#selectIds();
    if (this.#position >= this.#ids.length) return false;
    if (this.#pacer.spend(2500)) await this.#pacer.pause();
    this.#gather(this.#ids);
    if (this.#batch.pages.length > 0) await this.#parts.pages.load(this.#batch.pages);
    this.#give(sink);
    return this.#position < this.#ids.length;
  }

  async #selectIds(): Promise<Uint32Array> {
    const { postings, found } = this.#parts;
    const selector = selectorOf(this.#request.matchers);
    const known = found.get(selector);
    if (known !== undefined) return known;
    const steps = selectPostingsInSteps(postings, this.#request.matchers);
    for (;;) {
      const step = steps.next();
      if (step.done) {
        found.put(selector, step.value);
        return step.value;
      }
      if (this.#pacer.spend(1000)) await this.#pacer.pause();
    }
  }

  /** Collects labels and chunk places of the next series. */
  #gather(ids: Uint32Array): void {
    const { walker, pages } = this.#parts;
    const { partitions } = this.#request;
    const batch = this.#batch;
    batch.reset();
    const visitsEnd = Math.min(ids.length, this.#position + BATCH_VISITS);
    while (
      this.#position < visitsEnd &&
      batch.series.length < BATCH_SERIES &&
      batch.pages.length < BATCH_PAGES
    ) {
      walker.seek(ids[this.#position++]!);
      if (partitions !== undefined && !partitions.has(walker.partition)) continue;
      if (!this.#gatherChunks(walker, pages)) continue;
      batch.labels.rawFrom(walker.labelView, 0, walker.labelLength);
      batch.series.push(batch.labels.length);
      batch.chunkEnds.push(batch.positions.length);
      this.#countSeries();
    }
  }

  /** Adds the chunks that overlap the range; false when there is none of samples, or of what else is asked for. */
  #gatherChunks(walker: SeriesWalker, pages: ChunkPages): boolean {
    const { minTimeMs, maxTimeMs, labelsOnly, exemplars } = this.#request;
    const { chunks } = walker;
    const batch = this.#batch;
    const chunksBefore = batch.bytes.length;
    let found = false;
    for (let i = 0; i < chunks.count; i++) {
      if (chunks.maxTimesMs[i]! < minTimeMs || chunks.minTimesMs[i]! > maxTimeMs) continue;
      const encoding = chunks.encodings[i]!;
      if ((encoding === CHUNK_EXEMPLARS) !== (exemplars === true)) continue;
      // Start times alone make no answer; an encoding of a later version is the reader's to refuse.
      if (encoding !== CHUNK_START_TIMES) found = true;
      if (labelsOnly === true) {
        if (found) return true;
        continue;
      }
      const position = chunks.positions[i]!;
      const bytes = chunks.bytes[i]!;
      if (bytes === 0 || position + bytes > pages.rawBytes) {
        throw corruptBlock(this.#parts.where, `chunk of ${bytes} bytes at ${position} of ${pages.rawBytes}`);
      }
      batch.encodings.push(encoding);
      batch.minTimesMs.push(chunks.minTimesMs[i]!);
      batch.maxTimesMs.push(chunks.maxTimesMs[i]!);
      batch.positions.push(position);
      batch.bytes.push(bytes);
      batch.addPages(pages.pageOf(position), pages.pageOf(position + bytes - 1));
    }
    if (!found) batch.truncate(chunksBefore);
    return found;
  }

  #countSeries(): void {
    const { seriesMax } = this.#request;
    if (seriesMax === undefined || ++this.#seriesGiven <= seriesMax) return;
    throw new AppError(
      'execution',
      `the selector matches more than ${seriesMax} series; narrow it by more matchers or a shorter range`,
    );
  }

  #give(sink: ChunkSink): void {
    const batch = this.#batch;
    const { pages } = this.#parts;
    let labelsAt = 0;
    let chunk = 0;
    for (let s = 0; s < batch.series.length; s++) {
      const labelsEnd = batch.series.array[s]!;
      sink.beginSeries(batch.labels.bytes, labelsAt, labelsEnd);
      labelsAt = labelsEnd;
      for (const end = batch.chunkEnds.array[s]!; chunk < end; chunk++) {
        const encoding = batch.encodings.array[chunk]!;
        const minTimeMs = batch.minTimesMs.array[chunk]!;
        const maxTimeMs = batch.maxTimesMs.array[chunk]!;
        pages.withChunk(batch.positions.array[chunk]!, batch.bytes.array[chunk]!, (bytes, start, stop) =>
          sink.chunk(encoding, minTimeMs, maxTimeMs, bytes, start, stop),
        );
      }
    }
  }
}

/** Equal for matchers that find the same. */
function selectorOf(matchers: readonly Matcher[]): string {
  return JSON.stringify(matchers.map(({ name, operator, value }) => [name, operator, value]));
}

/** Series and chunk places of one batch, as columns that are reused. */
class SelectBatch {
  readonly labels = new ByteWriter(4096);
  /** End of each series' labels, and of its chunks in the columns below. */
  readonly series = new Uint32Column();
  readonly chunkEnds = new Uint32Column();
  readonly encodings = new Uint32Column();
  readonly minTimesMs = new Float64Column();
  readonly maxTimesMs = new Float64Column();
  readonly positions = new Float64Column();
  readonly bytes = new Uint32Column();
  /** Pages of `chunks` that hold them, ascending. */
  pages: number[] = [];

  reset(): void {
    this.labels.reset();
    this.series.length = 0;
    this.chunkEnds.length = 0;
    this.encodings.length = 0;
    this.minTimesMs.length = 0;
    this.maxTimesMs.length = 0;
    this.positions.length = 0;
    this.bytes.length = 0;
    this.pages = [];
  }

  /** Takes chunks back; pages that were added for them may stay. */
  truncate(chunks: number): void {
    for (const column of [this.encodings, this.minTimesMs, this.maxTimesMs, this.positions, this.bytes]) {
      column.length = chunks;
    }
  }

  /** Positions ascend from chunk to chunk, so new pages come behind those that are there. */
  addPages(first: number, last: number): void {
    const known = this.pages.length === 0 ? -1 : this.pages[this.pages.length - 1]!;
    for (let page = Math.max(first, known + 1); page <= last; page++) this.pages.push(page);
  }
}
