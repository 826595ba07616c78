// Classic histograms of the text formats as native ones with custom buckets (`convert_classic_histograms_to_nhcb`). Stands between a parser
// and its sink: gathers neighbouring _bucket, _sum and _count lines of one label set below a TYPE line that says histogram, and reports them
// as one histogram when the next series begins. What cannot be a histogram (counts that fall, a count that is not that of the last
// bucket) is left out, as in Prometheus.
import { encodeUtf8 } from '../core/bytes.ts';
import { HistogramParts } from '../model/histogram-parts.ts';
import { isLegacyLabelName, isLegacyMetricName, METRIC_NAME } from '../model/labels.ts';
import type { ExpositionSink, MetadataKind } from './exposition-sink.ts';
import { NumberSyntaxError, parseFloatBytes } from './float-parser.ts';
import { CustomBucketsBuilder } from './protobuf-histogram.ts';
import { readSeriesText, unquote } from './series-text.ts';

const BUCKET_LABEL = 'le';
/** Series texts whose parts are remembered; a target that has more reads them anew. */
const KNOWN_MAX = 20_000;

type Role = 'bucket' | 'sum' | 'count';

/** What a classic line is of its histogram. */
interface Part {
  readonly role: Role;
  /** Upper bound of a bucket. */
  readonly bound: number;
  /** The histogram's own name and labels: equal texts are one histogram. */
  readonly key: string;
}

export class ClassicToCustom implements ExpositionSink {
  readonly #sink: ExpositionSink;
  /** Classic series are reported as well. */
  readonly #keepsClassic: boolean;
  readonly #builder = new CustomBucketsBuilder(new HistogramParts());
  /** Series text → its part, or nothing where it is none of the family. */
  readonly #known = new Map<string, Part | undefined>();
  /** Name of the family, if it is a histogram. */
  #family: string | undefined;
  #startMs = Number.NaN;
  /** Whether the line reported last was gathered: its exemplar is the histogram's. */
  #isGathered = false;

  // The histogram that is gathered.
  #key = '';
  #bounds: number[] = [];
  #counts: number[] = [];
  #count = Number.NaN;
  #sum = 0;
  #isBroken = false;
  #timestampMs = Number.NaN;
  #histogramStartMs = Number.NaN;
  /** Start and end of the labels, value and time of each exemplar. */
  #exemplars: number[] = [];

  constructor(sink: ExpositionSink, options: { readonly keepsClassic: boolean }) {
    this.#sink = sink;
    this.#keepsClassic = options.keepsClassic;
  }

  /** Call before an exposition. */
  begin(): void {
    this.#family = undefined;
    this.#startMs = Number.NaN;
    this.#isGathered = false;
    this.#clear();
  }

  /** Call after an exposition that was read to its end, with its bytes. */
  finish(bytes: Uint8Array): void {
    this.#report(bytes);
  }

  /** Within a histogram every text is looked at: what the sink expects next is not what comes next. */
  recognise(bytes: Uint8Array, start: number, end: number): number {
    return this.#family === undefined ? this.#sink.recognise(bytes, start, end) : 0;
  }

  sample(bytes: Uint8Array, start: number, end: number, value: number, timestampMs: number): void {
    const startMs = this.#startMs;
    this.#startMs = Number.NaN;
    const part = this.#family === undefined ? undefined : this.#partOf(bytes, start, end, this.#family);
    this.#isGathered = part !== undefined;
    if (part === undefined || part.key !== this.#key) this.#report(bytes);
    if (part !== undefined) {
      if (this.#key === '') {
        this.#key = part.key;
        this.#histogramStartMs = startMs;
      }
      this.#timestampMs = timestampMs;
      this.#gather(part, value);
      if (!this.#keepsClassic) return;
    }
    if (!Number.isNaN(startMs)) this.#sink.startTime(startMs);
    this.#sink.sample(bytes, start, end, value, timestampMs);
  }

  histogram(bytes: Uint8Array, start: number, end: number, parts: HistogramParts, timestampMs: number): void {
    this.#report(bytes);
    this.#isGathered = false;
    this.#sink.histogram(bytes, start, end, parts, timestampMs);
  }

  exemplar(bytes: Uint8Array, start: number, end: number, value: number, timestampMs: number): void {
    if (this.#isGathered) this.#exemplars.push(start, end, value, timestampMs);
    else this.#sink.exemplar(bytes, start, end, value, timestampMs);
  }

  startTime(timestampMs: number): void {
    this.#startMs = timestampMs;
  }

  metadata(
    kind: MetadataKind,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    textStart: number,
    textEnd: number,
  ): void {
    this.#report(bytes);
    if (kind === 'type') {
      const isHistogram = textOf(bytes, textStart, textEnd) === 'histogram';
      this.#family = isHistogram ? nameOf(bytes, nameStart, nameEnd) : undefined;
    }
    this.#sink.metadata(kind, bytes, nameStart, nameEnd, textStart, textEnd);
  }

  #partOf(bytes: Uint8Array, start: number, end: number, family: string): Part | undefined {
    const text = textOf(bytes, start, end);
    const known = this.#known.get(text);
    if (known !== undefined || this.#known.has(text)) return known;
    const part = readPart(readSeriesText(bytes, start, end), family);
    if (this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#known.set(text, part);
    return part;
  }

  #gather({ role, bound }: Part, value: number): void {
    if (this.#isBroken) return;
    if (role === 'sum') this.#sum = value;
    else if (value < 0) this.#isBroken = true;
    else if (role === 'count') this.#count = value;
    else this.#addBucket(bound, value);
  }

  /** In order of bounds, whatever the order of lines; the first of two equal bounds stays. */
  #addBucket(bound: number, count: number): void {
    const bounds = this.#bounds;
    let at = bounds.length;
    while (at > 0 && bounds[at - 1]! >= bound) at--;
    if (bounds[at] === bound) return;
    const isBelow = at > 0 && count < this.#counts[at - 1]!;
    const isAbove = at < bounds.length && count > this.#counts[at]!;
    if (isBelow || isAbove) {
      this.#isBroken = true;
      return;
    }
    bounds.splice(at, 0, bound);
    this.#counts.splice(at, 0, count);
  }

  /** Ends the histogram that is gathered, if there is one. `bytes` are those that its exemplars stand in. */
  #report(bytes: Uint8Array): void {
    if (this.#key === '') return;
    const { length } = this.#bounds;
    const count = Number.isNaN(this.#count) && length > 0 ? this.#counts[length - 1]! : this.#count;
    const isWhole =
      this.#bounds[length - 1] !== Number.POSITIVE_INFINITY || this.#counts[length - 1] === count;
    const hasCount = count >= (this.#counts[length - 1] ?? 0);
    if (!this.#isBroken && isWhole && hasCount) this.#reportHistogram(bytes, count);
    this.#clear();
  }

  #reportHistogram(bytes: Uint8Array, count: number): void {
    const builder = this.#builder;
    builder.begin();
    for (let i = 0; i < this.#bounds.length; i++) builder.add(this.#bounds[i]!, this.#counts[i]!);
    const parts = builder.finish(count, this.#sum);
    // A blank ends the text, as in a line.
    const text = encodeUtf8(`${this.#key} `);
    if (!Number.isNaN(this.#histogramStartMs)) this.#sink.startTime(this.#histogramStartMs);
    this.#sink.histogram(text, 0, text.length - 1, parts, this.#timestampMs);
    const exemplars = this.#exemplars;
    for (let i = 0; i < exemplars.length; i += 4)
      this.#sink.exemplar(bytes, exemplars[i]!, exemplars[i + 1]!, exemplars[i + 2]!, exemplars[i + 3]!);
  }

  #clear(): void {
    this.#key = '';
    this.#bounds.length = 0;
    this.#counts.length = 0;
    this.#count = Number.NaN;
    this.#sum = 0;
    this.#isBroken = false;
    this.#timestampMs = Number.NaN;
    this.#histogramStartMs = Number.NaN;
    this.#exemplars.length = 0;
  }
}

/** @param pairs  As readSeriesText gives them. */
function readPart(pairs: readonly string[], family: string): Part | undefined {
  const labels: [string, string][] = [];
  let name = '';
  let bound: string | undefined;
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i] === METRIC_NAME) name = pairs[i + 1]!;
    else if (pairs[i] === BUCKET_LABEL) bound = pairs[i + 1]!;
    else labels.push([pairs[i]!, pairs[i + 1]!]);
  }
  const role = (['bucket', 'sum', 'count'] as const).find((each) => name === `${family}_${each}`);
  if (role === undefined) return undefined;
  labels.sort(([a], [b]) => (a < b ? -1 : 1));
  const key = seriesText(family, labels);
  if (role !== 'bucket') return { role, bound: Number.NaN, key };
  const value = bound === undefined ? Number.NaN : readBound(bound);
  return Number.isNaN(value) ? undefined : { role, bound: value, key };
}

function readBound(text: string): number {
  const bytes = encodeUtf8(text);
  try {
    return parseFloatBytes(bytes, 0, bytes.length);
  } catch (caught) {
    if (caught instanceof NumberSyntaxError) return Number.NaN;
    throw caught;
  }
}

/** A series as a line of an exposition has it. */
function seriesText(name: string, labels: readonly (readonly [string, string])[]): string {
  const isLegacy = isLegacyMetricName(name);
  const parts = isLegacy ? [] : [quote(name)];
  for (const [label, value] of labels)
    parts.push(`${isLegacyLabelName(label) ? label : quote(label)}=${quote(value)}`);
  return `${isLegacy ? name : ''}{${parts.join(',')}}`;
}

function quote(text: string): string {
  return `"${text.replaceAll(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')}"`;
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}

function nameOf(bytes: Uint8Array, start: number, end: number): string {
  return bytes[start] === 34
    ? unquote(bytes, start, end)
    : Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
}
