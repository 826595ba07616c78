// What the decoders of remote write 1.0 and 2.0 share, per tenant: the series cache, the scratch for labels and symbols, and
// the way from a series that is not in the cache to its reference.
import { AppError } from '../../core/errors.ts';
import { hash128View } from '../../core/hash128.ts';
import type { ProtobufCursor } from '../../core/protobuf-cursor.ts';
import { decodeLabels } from '../../model/labels.ts';
import type { MetricMetadata } from '../contracts.ts';
import { RememberedSeries } from './remembered-series.ts';
import type { RemoteWriteColumns } from './remote-write-columns.ts';
import {
  createExemplarReferenceReader,
  type ExemplarLabelReader,
  SeriesExtras,
} from './remote-write-extras.ts';
import { RemoteWriteLabels } from './remote-write-labels.ts';
import { RemoteWriteMetadataFilter } from './remote-write-metadata.ts';
import { RemoteWriteSeriesCache } from './remote-write-series-cache.ts';
import { RemoteWriteSymbols } from './remote-write-symbols.ts';

/** Where series get their references: the distributor's appender. */
export interface SeriesResolver {
  /** @throws AppError `bad_data` or `resource_exhausted` when the series is refused; anything else ends the request. */
  resolveBytes(bytes: Uint8Array, start: number, end: number): number;
}

export interface RemoteWriteDecoderOptions {
  /** Most series in one generation of the cache. */
  readonly cachedSeriesMax: number;
  /** Most metric families whose metadata is remembered. */
  readonly cachedMetricsMax: number;
  /** Seed of the cache's hashes, unsigned 32-bit; random, so that nobody outside can choose what collides. */
  readonly hashSeed: number;
  /** After this long, metadata is passed on again although it did not change: ingesters may have lost it. */
  readonly metadataResendMs: number;
}

/** What a request is called where it is malformed. */
export const REQUEST_SUBJECT = 'remote write request';

/** Longest label bytes of one series as sent; longer ones are refused before any label work. */
export const SERIES_LABEL_BYTES_MAX = 64 * 1024;

/** Most metadata entries in one request. */
export const REQUEST_METADATA_MAX = 1 << 16;

/** Largest magnitude of a timestamp that a double holds exactly. */
const TIMESTAMP_MS_MAX = Number.MAX_SAFE_INTEGER;

/** How long a replaced generation of the series cache is asked. Longer than any usual scrape interval. */
const PREVIOUS_KEPT_MS = 15 * 60_000;

/** What a request held, besides the samples in the columns. */
export interface DecodedWrite {
  /** Float samples in the request, refused ones included. */
  samples: number;
  /** Native histograms in the request, refused ones included. */
  histograms: number;
  /** Exemplars in the request, refused ones included. */
  exemplars: number;
  /** Series entries in the request. */
  series: number;
  /** Float samples that are not in the columns because their series or timestamp was refused. */
  refusedSamples: number;
  /** Histograms that are not in the columns: their series was refused, or they are invalid. */
  refusedHistograms: number;
  /** Exemplars that are not in the columns; they fail no request. */
  refusedExemplars: number;
  /** Series entries that break a rule of their own without holding a sample (2.0 demands one). */
  refusedSeries: number;
  /** True when a series was refused because the tenant has too many. */
  overQuota: boolean;
  /** The first refusal, for people. */
  firstRefusal: string | undefined;
  /** Metadata that is news. */
  metadata: MetricMetadata[];
}

/** State that outlives a tenant's requests; used by one request at a time. */
export class RemoteWriteContext {
  readonly cache: RemoteWriteSeriesCache;
  readonly remembered: RememberedSeries;
  readonly labels = new RemoteWriteLabels();
  readonly metadata: RemoteWriteMetadataFilter;
  readonly symbols: RemoteWriteSymbols;
  readonly hash: Uint32Array<ArrayBuffer> = new Uint32Array(4);
  /** Where the label bytes stand that `hash` is of, and that the cache was just asked for in vain; −1 when it was not. */
  missedAt = -1;
  missedEnd = 0;
  readonly extras = new SeriesExtras();
  /** Scratch of version 2.0: the symbols that the current series refers to. */
  labelReferences: Uint32Array<ArrayBuffer> = new Uint32Array(256);
  readonly hashSeed: number;
  /** Mixed into metadata fingerprints; a change makes all metadata news. */
  metadataEpoch = 1;
  #metadataEpochSinceMs = 0;
  /** Version 2.0's exemplars refer to symbols. */
  readonly readExemplarReferences: ExemplarLabelReader;
  readonly #metadataResendMs: number;
  readonly #resolver: SeriesResolver;

  constructor(options: RemoteWriteDecoderOptions, deps: { readonly resolver: SeriesResolver }) {
    this.cache = new RemoteWriteSeriesCache(options.cachedSeriesMax);
    this.remembered = new RememberedSeries(this.cache);
    this.metadata = new RemoteWriteMetadataFilter(options.cachedMetricsMax);
    this.hashSeed = options.hashSeed >>> 0;
    this.symbols = new RemoteWriteSymbols(this.hashSeed);
    this.readExemplarReferences = createExemplarReferenceReader(this.symbols);
    this.#metadataResendMs = options.metadataResendMs;
    this.#resolver = deps.resolver;
  }

  /** Forgets all references, after a write said that one is no longer known; the same request may be decoded again then. */
  forgetSeries(): void {
    this.cache.clear();
    this.forgetNews();
  }

  /** Makes all metadata and start times news again, after a write failed that may have carried some. */
  forgetNews(): void {
    this.extras.forgetStartTimes();
    this.metadata.clear();
    this.metadataEpoch = (this.metadataEpoch + 1) >>> 0;
  }

  /**
   * The slow path: `labels` holds a series' pairs, `hash` the key of the cache.
   *
   * @returns Position in the cache, or −1 when the series is refused; `decoded` then has the reason.
   */
  resolve(bytes: Uint8Array, decoded: DecodedWrite): number {
    try {
      const canonical = this.labels.encode(bytes);
      const reference = this.#resolver.resolveBytes(canonical.bytes, 0, canonical.length);
      return this.cache.insert(this.hash, reference, 0);
    } catch (caught) {
      if (!(caught instanceof AppError)) throw caught;
      if (caught.code === 'resource_exhausted') decoded.overQuota = true;
      else if (caught.code !== 'bad_data') throw caught;
      decoded.firstRefusal ??= caught.message;
      return -1;
    }
  }

  growLabelReferences(): void {
    const grown = new Uint32Array(this.labelReferences.length * 2);
    grown.set(this.labelReferences);
    this.labelReferences = grown;
  }

  /** Before each request: lets caches age. */
  maintain(nowMs: number): void {
    this.cache.maintain(nowMs, PREVIOUS_KEPT_MS);
    this.remembered.maintain();
    if (nowMs - this.#metadataEpochSinceMs < this.#metadataResendMs) return;
    this.#metadataEpochSinceMs = nowMs;
    this.forgetNews();
  }
}

/** Hashes the raw label bytes [start, end) into the context's `hash`. */
export function hashLabels(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  start: number,
  end: number,
): void {
  hash128View(cursor.bytes, cursor.view, start, end, context.hashSeed, context.hash);
}

/**
 * Gives the samples that were appended since `first` their reference, and takes out those whose timestamp no double holds.
 */
export function finishSeries(
  columns: RemoteWriteColumns,
  first: number,
  reference: number,
  decoded: DecodedWrite,
): void {
  const { references, timestampsMs, valueWords } = columns;
  let kept = first;
  for (let i = first; i < columns.count; i++) {
    const timestampMs = timestampsMs[i]!;
    if (timestampMs > TIMESTAMP_MS_MAX || timestampMs < -TIMESTAMP_MS_MAX) {
      decoded.refusedSamples++;
      decoded.firstRefusal ??= `timestamp ${timestampMs} ms is beyond ± 2^53 - 1; timestamps are Unix milliseconds`;
      continue;
    }
    if (kept !== i) {
      timestampsMs[kept] = timestampMs;
      valueWords[2 * kept] = valueWords[2 * i]!;
      valueWords[2 * kept + 1] = valueWords[2 * i + 1]!;
    }
    references[kept++] = reference;
  }
  columns.count = kept;
}

/** Says in `decoded` which histogram was refused; `context.labels` holds the pairs of its series, which was not. */
export function nameRefusedHistogram(
  context: RemoteWriteContext,
  bytes: Uint8Array,
  decoded: DecodedWrite,
): void {
  if (decoded.firstRefusal !== undefined) return;
  const { bytes: canonical, length } = context.labels.encode(bytes);
  const series = decodeLabels(canonical, 0, length).toString();
  decoded.firstRefusal = `${context.extras.refusal} (series ${series})`;
}

/** Counts the extras of a series, and keeps them when it was found at `position`, drops them when that is −1. */
export function settleExtras(
  context: RemoteWriteContext,
  columns: RemoteWriteColumns,
  position: number,
  decoded: DecodedWrite,
): void {
  const { extras } = context;
  decoded.histograms += extras.histograms;
  decoded.exemplars += extras.exemplars;
  if (position < 0) extras.drop(columns, decoded);
  else extras.finish(columns, context.cache.referenceAt(position), decoded);
}

/** Passes metadata on that is news. @throws AppError `resource_exhausted` when the request holds too much of it. */
export function passMetadata(
  context: RemoteWriteContext,
  metadata: MetricMetadata,
  decoded: DecodedWrite,
): void {
  if (!context.metadata.admit(metadata)) return;
  if (decoded.metadata.length >= REQUEST_METADATA_MAX) {
    throw new AppError(
      'resource_exhausted',
      `the request holds metadata of more than ${REQUEST_METADATA_MAX} metrics; send fewer per request`,
    );
  }
  decoded.metadata.push(metadata);
}

/** True, with the reason in `decoded`, when a series' labels are longer than any label work is done for. */
export function refuseLongLabels(labelBytes: number, decoded: DecodedWrite): boolean {
  if (labelBytes <= SERIES_LABEL_BYTES_MAX) return false;
  decoded.firstRefusal ??= `a series has ${labelBytes} bytes of labels; the limit is ${SERIES_LABEL_BYTES_MAX}`;
  return true;
}

/** Takes out the samples of a refused series that were appended since `first`. */
export function dropSeries(columns: RemoteWriteColumns, first: number, decoded: DecodedWrite): void {
  decoded.refusedSamples += columns.count - first;
  columns.count = first;
}
