// Turns the lines of an exposition into samples of a batch: the sink between the parser and the columns. Knows the series of
// one target; everything per sample happens on bytes and typed arrays.
import { AppError } from '../../lib/core/errors.ts';
import type { Appender, SeriesReference } from '../../lib/distributor/appender.ts';
import type { ExpositionSink, MetadataKind } from '../../lib/exposition/exposition-sink.ts';
import type { HistogramParts } from '../../lib/model/histogram-parts.ts';
import type { StartTimeMemory } from '../../lib/model/start-time-memory.ts';
import type { WriteBatch } from '../write-batch.ts';
import type { MetadataLines } from './family-metadata.ts';
import { type HistogramLimits, limitHistogram } from './histogram-limits.ts';
import { ScrapedExemplars } from './scraped-exemplars.ts';
import { DROPPED, REFUSED, type SeriesCache } from './series-cache.ts';
import {
  FAMILY_HISTOGRAM,
  FAMILY_OTHER,
  FAMILY_SUMMARY,
  type SeriesRules,
  seriesLabels,
} from './series-labels.ts';

/** How the samples of a target are taken. */
export interface AppendRules extends SeriesRules {
  readonly honorTimestamps: boolean;
  readonly trackTimestampsStaleness: boolean;
  /** 0 means none. */
  readonly sampleLimit: number;
  readonly histogramLimits: HistogramLimits;
}

/** Figures of one scrape. */
export interface ScrapeCounts {
  /** Samples in the exposition. */
  scraped: number;
  /** Of these, what relabelling left. */
  added: number;
  /** Series that were not known before. */
  seriesAdded: number;
  /** A series twice in one exposition: the first stays. */
  duplicates: number;
  /** Samples of label sets that the distributor refuses. */
  refused: number;
  firstRefusal: string | undefined;
}

/** As in remote write, 0 is no start time. */
const NO_START = 0;

export class ExpositionAppender implements ExpositionSink {
  readonly #cache: SeriesCache;
  readonly #lines: MetadataLines;
  readonly #appender: Appender;
  readonly #rules: AppendRules;
  readonly #startTimes: StartTimeMemory;
  readonly #exemplars = new ScrapedExemplars();
  #batch: WriteBatch | undefined;
  #timeMs = 0;
  #family = FAMILY_OTHER;
  #counts: ScrapeCounts = noCounts();
  /** Start time of the sample to come; NO_START when it has none. */
  #startMs = NO_START;
  /** Series and time of the sample taken last, whose exemplars may follow; −1 when it was not taken. */
  #slot = -1;
  #sampleMs = 0;

  constructor(
    cache: SeriesCache,
    lines: MetadataLines,
    appender: Appender,
    rules: AppendRules,
    startTimes: StartTimeMemory,
  ) {
    this.#startTimes = startTimes;
    this.#cache = cache;
    this.#lines = lines;
    this.#appender = appender;
    this.#rules = rules;
  }

  /** Call before an exposition is parsed: its samples go to `batch`, at `timeMs` unless they say otherwise. */
  begin(batch: WriteBatch, timeMs: number): void {
    this.#batch = batch;
    this.#timeMs = timeMs;
    this.#family = FAMILY_OTHER;
    this.#counts = noCounts();
    this.#startMs = NO_START;
    this.#slot = -1;
    this.#cache.begin();
    this.#lines.begin();
  }

  get counts(): Readonly<ScrapeCounts> {
    return this.#counts;
  }

  recognise(bytes: Uint8Array, start: number, end: number): number {
    return this.#cache.recognise(bytes, start, end);
  }

  sample(bytes: Uint8Array, start: number, end: number, value: number, timestampMs: number): void {
    const slot = this.#admit(bytes, start, end, timestampMs);
    if (slot >= 0) this.#batch!.add(this.#cache.referenceOf(slot), this.#sampleMs, value);
  }

  /** @throws AppError when the histogram is invalid or over a limit: the scrape fails as a whole. */
  histogram(bytes: Uint8Array, start: number, end: number, parts: HistogramParts, timestampMs: number): void {
    const histogram = parts.toHistogram();
    limitHistogram(histogram, this.#rules.histogramLimits);
    const slot = this.#admit(bytes, start, end, timestampMs);
    if (slot < 0) return;
    const kind = parts.isFloat ? 'float' : 'integer';
    const extras = this.#batch!.needExtras();
    extras.addHistogram(this.#cache.referenceOf(slot), this.#sampleMs, histogram, kind);
  }

  exemplar(bytes: Uint8Array, start: number, end: number, value: number, timestampMs: number): void {
    if (this.#slot < 0) return;
    const reference = this.#cache.referenceOf(this.#slot);
    this.#exemplars.add(this.#batch!, reference, bytes, start, end, value, timestampMs, this.#sampleMs);
  }

  startTime(timestampMs: number): void {
    this.#startMs = timestampMs;
  }

  /** After a scrape that failed, before its batch is emptied: nothing of it was written. */
  forgetExtras(): void {
    this.#exemplars.forget();
    const extras = this.#batch?.extras;
    if (extras === undefined) return;
    for (let i = 0; i < extras.count; i++) this.#startTimes.forget(extras.references[i]!);
  }

  /** Finds or makes the series of a sample and decides about its time; −1 when it is not taken. */
  #admit(bytes: Uint8Array, start: number, end: number, timestampMs: number): number {
    const counts = this.#counts;
    const cache = this.#cache;
    const startMs = this.#startMs;
    this.#slot = -1;
    if (startMs !== NO_START) this.#startMs = NO_START;
    counts.scraped++;
    const entry = cache.find(bytes, start, end);
    const slot = entry >= 0 ? cache.slotOf(entry) : this.#addSeries(bytes, start, end);
    if (slot < 0) {
      if (slot === REFUSED) counts.refused++;
      return -1;
    }
    counts.added++;
    const rules = this.#rules;
    const stamped = rules.honorTimestamps && !Number.isNaN(timestampMs);
    if (!stamped || rules.trackTimestampsStaleness) {
      if (!cache.markSeen(slot) && !stamped) {
        counts.duplicates++;
        return -1;
      }
    }
    // Over the limit the scrape fails as a whole; until then only the count matters.
    if (rules.sampleLimit > 0 && counts.added > rules.sampleLimit) return -1;
    this.#slot = slot;
    this.#sampleMs = stamped ? timestampMs : this.#timeMs;
    if (startMs !== NO_START) this.#addStartTime(slot, startMs);
    return slot;
  }

  #addStartTime(slot: number, startMs: number): void {
    const reference = this.#cache.referenceOf(slot);
    if (!this.#startTimes.isNews(reference, startMs)) return;
    this.#batch!.needExtras().addStartTime(reference, this.#sampleMs, startMs);
  }

  metadata(
    kind: MetadataKind,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    textStart: number,
    textEnd: number,
  ): void {
    if (kind === 'type') this.#family = familyOf(bytes, textStart, textEnd);
    this.#lines.accept(kind, bytes, nameStart, nameEnd, textStart, textEnd);
  }

  /** The reference of a series text as of now, for `SeriesCache.resolveAgain`; undefined when it gives none. */
  resolveText(bytes: Uint8Array, start: number, end: number, family: number): SeriesReference | undefined {
    try {
      const labels = seriesLabels(bytes, start, end, family, this.#rules);
      return labels === undefined ? undefined : this.#appender.resolve(labels);
    } catch {
      return undefined;
    }
  }

  #addSeries(bytes: Uint8Array, start: number, end: number): number {
    const labels = seriesLabels(bytes, start, end, this.#family, this.#rules);
    if (labels === undefined) {
      this.#cache.add(bytes, start, end, DROPPED, this.#family);
      return DROPPED;
    }
    try {
      const slot = this.#cache.slotFor(this.#appender.resolve(labels));
      if (!this.#cache.isLive(slot)) this.#counts.seriesAdded++;
      this.#lines.expectNew();
      this.#cache.add(bytes, start, end, slot, this.#family);
      return slot;
    } catch (caught) {
      if (!(caught instanceof AppError)) throw caught;
      this.#counts.firstRefusal ??= caught.message;
      // Over the series limit there may be room next time; a label set that breaks a rule breaks it always.
      if (caught.code === 'bad_data') this.#cache.add(bytes, start, end, REFUSED, this.#family);
      return REFUSED;
    }
  }
}

function noCounts(): ScrapeCounts {
  return { scraped: 0, added: 0, seriesAdded: 0, duplicates: 0, refused: 0, firstRefusal: undefined };
}

function familyOf(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length === 9 && bytes[start] === 104) return FAMILY_HISTOGRAM;
  return length === 7 && bytes[start] === 115 && bytes[start + 1] === 117 && bytes[start + 2] === 109
    ? FAMILY_SUMMARY
    : FAMILY_OTHER;
}
