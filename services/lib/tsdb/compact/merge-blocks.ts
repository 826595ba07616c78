// Makes one block of several: all their series and samples, each sample once, without those that deletes hide. Series by
// series: memory is that of one series from each source, and of the new block's label table.
import type { Disk } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import { compareLabelBytes } from '../../model/label-bytes.ts';
import type { BlockCursor } from '../block/block-cursor.ts';
import type { BlockMeta } from '../block/block-meta.ts';
import type { BlockReader } from '../block/block-reader.ts';
import { CorruptBlockError, corruptBlock } from '../block/page-codec.ts';
import { SortedBlockWriter } from '../block/sorted-block-writer.ts';
import { UNITS_PER_PAGE, type WorkPacer } from '../block/work-pacer.ts';
import {
  coversAll,
  type Deletion,
  DeletionMask,
  NO_RANGES,
  type SeriesMask,
  type TimeRanges,
  uniteTimeRanges,
} from '../tombstones/deletion.ts';
import { type MergeCounts, SeriesMerger, type SeriesPart } from './series-merger.ts';

/** A block to be merged. */
export interface MergeSource {
  readonly reader: BlockReader;
  /** Deletes that concern this block. */
  readonly deletions: readonly Deletion[];
  /** Hides more than they do. Default: nothing. */
  readonly mask?: SeriesMask;
}

export interface MergeOptions {
  /** An existing, empty folder for the new block; the caller's, also after an error. */
  readonly dir: string;
  readonly hashSeed: number;
}

export interface MergeDeps {
  /** Where the new block is written. */
  readonly disk: Disk;
  /** Carries the signal that ends the work. */
  readonly pacer: WorkPacer;
  /** Told now and then how many series are written. */
  readonly onProgress?: (series: number) => void;
}

export interface MergeResult extends MergeCounts {
  /** Undefined when no sample is left: then there is no block. */
  readonly meta: BlockMeta | undefined;
}

/** Series between two reports of progress. */
const SERIES_PER_REPORT = 4096;
/** Work of one series of one source, in the pacer's units. */
const UNITS_PER_PART = 6;

/** A source that cannot be merged; nothing of it was. */
export class CorruptSourceError extends AppError {
  readonly blockId: string;
  readonly damage: CorruptBlockError;

  constructor(blockId: string, damage: CorruptBlockError) {
    super('internal', `block ${blockId} cannot be merged: ${damage.message}`, { cause: damage });
    this.name = 'CorruptSourceError';
    this.blockId = blockId;
    this.damage = damage;
  }
}

/** Sealed blocks whose samples a block holds: its sources, or itself. */
export function leavesOf(meta: BlockMeta): readonly string[] {
  return meta.sources.length > 0 ? meta.sources : [meta.blockId];
}

/**
 * Writes the merged block, its files synced.
 *
 * @param sources  Blocks of one tenant and resolution, at least one, open until this is over.
 * @throws CorruptSourceError when a source is damaged; the signal's reason; the error of the disk as it comes.
 */
export async function mergeBlocks(
  sources: readonly MergeSource[],
  options: MergeOptions,
  deps: MergeDeps,
): Promise<MergeResult> {
  const { pacer } = deps;
  const metas = sources.map(({ reader }) => reader.meta);
  const writer = await SortedBlockWriter.create(
    {
      tenant: metas[0]!.tenant,
      dir: options.dir,
      level: 1 + Math.max(...metas.map(({ level }) => level)),
      sources: [...new Set(metas.flatMap(leavesOf))],
      minTimeMs: Math.min(...metas.map(({ minTimeMs }) => minTimeMs)),
      resolutionMs: metas[0]!.resolutionMs ?? 0,
      hashSeed: options.hashSeed,
    },
    deps.disk,
  );
  try {
    const merger = new SeriesMerger(writer);
    const inputs = sources.map((source) => new SourceInput(source));
    let live = inputs.filter((input) => input.advance());
    for (let series = 1; live.length > 0; series++) {
      const current = smallest(live);
      const parts: SeriesPart[] = [];
      for (const input of current) {
        const hiddenSamples = input.samplesIfHidden();
        if (hiddenSamples === undefined) parts.push(await input.load(pacer));
        else merger.counts.samplesDropped += hiddenSamples;
      }
      if (parts.length > 0) merger.merge(parts);
      const pages = await writer.settle();
      if (pacer.spend(current.length * UNITS_PER_PART + pages * UNITS_PER_PAGE)) await pacer.pause();
      let ended = false;
      for (const input of current) ended = !input.advance() || ended;
      if (ended) live = live.filter((input) => !input.isOver);
      if (series % SERIES_PER_REPORT === 0) deps.onProgress?.(writer.seriesCount);
    }
    if (writer.seriesCount === 0) {
      await writer.abandon();
      return { ...merger.counts, meta: undefined };
    }
    return { ...merger.counts, meta: await writer.finish(pacer) };
  } catch (caught) {
    await writer.abandon();
    throw caught;
  }
}

/** One source on its walk. */
export class SourceInput {
  readonly cursor: BlockCursor;
  readonly #masks: readonly SeriesMask[];
  readonly #blockId: string;
  #isBegun = false;
  #previous = new Uint8Array(0);
  isOver = false;

  constructor({ reader, deletions, mask }: MergeSource) {
    this.cursor = reader.openCursor();
    const masks: SeriesMask[] = [new DeletionMask(deletions)];
    if (mask !== undefined) masks.push(mask);
    this.#masks = masks.filter(({ isEmpty }) => !isEmpty);
    this.#blockId = reader.meta.blockId;
  }

  /** False behind the last series. */
  advance(): boolean {
    try {
      this.isOver = !this.cursor.advance();
      if (!this.isOver) this.#checkOrder();
    } catch (caught) {
      throw this.#blame(caught);
    }
    return !this.isOver;
  }

  /**
   * Samples of the current series when all of them are hidden: its chunks are not needed, which may be in a bucket only, and not even there any
   * more once another store has left them out. Undefined when something is left.
   */
  samplesIfHidden(): number | undefined {
    const { chunks } = this.cursor;
    const hidden = this.#hiddenRanges();
    if (hidden.length === 0) return undefined;
    let samples = 0;
    for (let i = 0; i < chunks.count; i++) {
      if (!coversAll(hidden, chunks.minTimesMs[i]!, chunks.maxTimesMs[i]!)) return undefined;
      samples += chunks.sampleCounts[i]!;
    }
    return samples;
  }

  /** The current series, ready to be merged. */
  async load(pacer: WorkPacer): Promise<SeriesPart> {
    const { cursor } = this;
    try {
      await cursor.loadChunks(pacer);
    } catch (caught) {
      throw this.#blame(caught);
    }
    return { cursor, hidden: this.#hiddenRanges(), blame: (caught) => this.#blame(caught) };
  }

  #hiddenRanges(): TimeRanges {
    const { cursor } = this;
    let hidden = NO_RANGES;
    for (const mask of this.#masks) {
      const found = mask.rangesOf(cursor.labelBytes, 0, cursor.labelLength);
      hidden = hidden.length === 0 ? found : uniteTimeRanges(hidden, found);
    }
    return hidden;
  }

  /** A merge of series that do not ascend would lose some. */
  #checkOrder(): void {
    const { labelBytes, labelLength } = this.cursor;
    const previous = this.#previous;
    const ascends = compareLabelBytes(previous, 0, previous.length, labelBytes, 0, labelLength) < 0;
    if (this.#isBegun && !ascends) throw corruptBlock(`block ${this.#blockId}`, 'its series do not ascend');
    this.#isBegun = true;
    this.#previous = labelBytes.slice(0, labelLength) as Uint8Array<ArrayBuffer>;
  }

  /** A damaged page, or a chunk that does not decode, is this source's. */
  #blame(caught: unknown): unknown {
    if (caught instanceof CorruptBlockError) return new CorruptSourceError(this.#blockId, caught);
    if (caught instanceof AppError && caught.code === 'internal') {
      return new CorruptSourceError(
        this.#blockId,
        corruptBlock(`block ${this.#blockId}`, caught.message, caught),
      );
    }
    return caught;
  }
}

/** The inputs that stand at the first label set of all. */
function smallest(inputs: readonly SourceInput[]): SourceInput[] {
  let least: SourceInput[] = [];
  for (const input of inputs) {
    const order = least.length === 0 ? -1 : compareInputs(input, least[0]!);
    if (order < 0) least = [input];
    else if (order === 0) least.push(input);
  }
  return least;
}

function compareInputs({ cursor: a }: SourceInput, { cursor: b }: SourceInput): number {
  return compareLabelBytes(a.labelBytes, 0, a.labelLength, b.labelBytes, 0, b.labelLength);
}
