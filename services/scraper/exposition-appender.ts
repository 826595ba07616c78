// Turns the lines of an exposition into samples of a batch: the sink between the parser and the columns. Knows the series of
// one target; everything per sample happens on bytes and typed arrays.
import { AppError } from '../lib/core/errors.ts';
import type { Appender, SeriesReference } from '../lib/distributor/appender.ts';
import type { ExpositionSink, MetadataKind } from '../lib/exposition/exposition-sink.ts';
import type { MetadataLines } from './family-metadata.ts';
import { DROPPED, REFUSED, type SeriesCache } from './series-cache.ts';
import {
  FAMILY_HISTOGRAM,
  FAMILY_OTHER,
  FAMILY_SUMMARY,
  type SeriesRules,
  seriesLabels,
} from './series-labels.ts';
import type { WriteBatch } from './write-batch.ts';

/** How the samples of a target are taken. */
export interface AppendRules extends SeriesRules {
  readonly honorTimestamps: boolean;
  readonly trackTimestampsStaleness: boolean;
  /** 0 means none. */
  readonly sampleLimit: number;
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

export class ExpositionAppender implements ExpositionSink {
  readonly #cache: SeriesCache;
  readonly #lines: MetadataLines;
  readonly #appender: Appender;
  readonly #rules: AppendRules;
  #batch: WriteBatch | undefined;
  #timeMs = 0;
  #family = FAMILY_OTHER;
  #counts: ScrapeCounts = noCounts();

  constructor(cache: SeriesCache, lines: MetadataLines, appender: Appender, rules: AppendRules) {
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
    const counts = this.#counts;
    const cache = this.#cache;
    counts.scraped++;
    const entry = cache.find(bytes, start, end);
    const slot = entry >= 0 ? cache.slotOf(entry) : this.#addSeries(bytes, start, end);
    if (slot < 0) {
      if (slot === REFUSED) counts.refused++;
      return;
    }
    counts.added++;
    const rules = this.#rules;
    const stamped = rules.honorTimestamps && !Number.isNaN(timestampMs);
    if (!stamped || rules.trackTimestampsStaleness) {
      if (!cache.markSeen(slot) && !stamped) {
        counts.duplicates++;
        return;
      }
    }
    // Over the limit the scrape fails as a whole; until then only the count matters.
    if (rules.sampleLimit > 0 && counts.added > rules.sampleLimit) return;
    this.#batch!.add(cache.referenceOf(slot), stamped ? timestampMs : this.#timeMs, value);
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
