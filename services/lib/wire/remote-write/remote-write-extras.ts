// What a series of a remote write request has beside float samples: histograms, exemplars, start times. They are read before
// the series' reference is known, so they are kept back here until it is. Used by one series at a time.
import { AppError } from '../../core/errors.ts';
import { type ProtobufCursor, WIRE_BYTES, WIRE_FIXED64, WIRE_VARINT } from '../../core/protobuf-cursor.ts';
import { EXEMPLAR_BYTES_MAX } from '../../model/extra-columns.ts';
import { StartTimeMemory } from '../../model/start-time-memory.ts';
import { REQUEST_SAMPLES_MAX, type RemoteWriteColumns } from './remote-write-columns.ts';
import { RemoteWriteHistogram } from './remote-write-histogram.ts';
import { RemoteWriteLabels } from './remote-write-labels.ts';
import type { RemoteWriteSymbols } from './remote-write-symbols.ts';

/** Most bytes of histograms and exemplars of one request, as they are passed on: twice what a request may decompress to. */
const REQUEST_EXTRA_BYTES_MAX = 64 * 1024 * 1024;
/** Characters of all names and values of an exemplar, as OpenMetrics and Prometheus bound them. */
const EXEMPLAR_CHARACTERS_MAX = 128;

const TAG_EXEMPLAR_VALUE = (2 << 3) | WIRE_FIXED64;
const TAG_EXEMPLAR_TIMESTAMP = (3 << 3) | WIRE_VARINT;
/** `labels` in 1.0: messages; `labels_refs` in 2.0: a packed list. */
const TAG_EXEMPLAR_LABELS = (1 << 3) | WIRE_BYTES;

/** Reads one field of an exemplar's labels, whose tag has been read, into `labels`; false when it is none. */
export type ExemplarLabelReader = (cursor: ProtobufCursor, tag: number, labels: RemoteWriteLabels) => boolean;

/** What `finish` and `drop` account for. */
export interface ExtrasAccount {
  /** Histograms that are not in the columns. */
  refusedHistograms: number;
  /** Exemplars that are not in the columns. */
  refusedExemplars: number;
}

export class SeriesExtras {
  readonly #histogram = new RemoteWriteHistogram();
  readonly #startTimes = new StartTimeMemory();
  readonly #exemplarLabels = new RemoteWriteLabels();
  /** Start times of the series' samples, in pairs: sample's time, start. */
  readonly #starts: number[] = [];
  #firstEntry = 0;
  #histograms = 0;
  #exemplars = 0;
  #refusal: string | undefined;
  #refusedHistograms = 0;
  #refusedExemplars = 0;

  /** Call before the first extra of a series. */
  begin(columns: RemoteWriteColumns): void {
    this.#firstEntry = columns.own.count;
    this.#histograms = 0;
    this.#exemplars = 0;
    this.#refusedHistograms = 0;
    this.#refusedExemplars = 0;
    this.#refusal = undefined;
    this.#starts.length = 0;
  }

  /** Histograms and exemplars since `begin`, refused ones included. */
  get histograms(): number {
    return this.#histograms;
  }

  get exemplars(): number {
    return this.#exemplars;
  }

  /** Why the first histogram since `begin` was refused; the series is not named in it. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  /** A Histogram, [cursor.at, end), and moves behind it. An invalid one is refused, a malformed one throws. */
  addHistogram(cursor: ProtobufCursor, end: number, columns: RemoteWriteColumns): void {
    const histogram = this.#histogram;
    this.#histograms++;
    checkRoom(columns);
    histogram.read(cursor, end);
    const { timestampMs, startMs, parts } = histogram;
    try {
      if (Math.abs(timestampMs) > Number.MAX_SAFE_INTEGER) {
        throw new AppError('bad_data', `timestamp ${timestampMs} ms is beyond ± 2^53 - 1`);
      }
      columns.own.addHistogram(0, timestampMs, parts.toHistogram(), parts.isFloat ? 'float' : 'integer');
    } catch (caught) {
      if (!(caught instanceof AppError) || caught.code !== 'bad_data') throw caught;
      this.#refusedHistograms++;
      this.#refusal ??= caught.message;
      return;
    }
    this.addStart(timestampMs, startMs);
  }

  /** An Exemplar, [cursor.at, end), and moves behind it. Unacceptable ones fail no request, as upstream has it. */
  addExemplar(
    cursor: ProtobufCursor,
    end: number,
    columns: RemoteWriteColumns,
    readLabels: ExemplarLabelReader,
  ): void {
    const outer = cursor.end;
    const labels = this.#exemplarLabels;
    let value = 0;
    let timestampMs = 0;
    this.#exemplars++;
    checkRoom(columns);
    labels.clear();
    cursor.end = end;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (readLabels(cursor, tag, labels)) continue;
      if (tag === TAG_EXEMPLAR_VALUE) value = cursor.double();
      else if (tag === TAG_EXEMPLAR_TIMESTAMP) timestampMs = cursor.int64();
      else if (tag >>> 3 <= 3) throw cursor.wrongWireType(tag, 'a field of Exemplar');
      else cursor.skip(tag);
    }
    cursor.end = outer;
    const canonical = labels.encode(cursor.bytes);
    if (
      !isAcceptable(labels, cursor.bytes, canonical.length) ||
      Math.abs(timestampMs) > Number.MAX_SAFE_INTEGER
    ) {
      this.#refusedExemplars++;
      return;
    }
    columns.own.addExemplar(0, timestampMs, value, canonical.bytes, 0, canonical.length);
  }

  /** The sample at `timestampMs` began to count at `startMs`; 0: not known, which is news behind one that is known. */
  addStart(timestampMs: number, startMs: number): void {
    const { length } = this.#starts;
    if (length === 0 ? startMs === 0 : this.#starts[length - 1] === startMs) return;
    this.#starts.push(timestampMs, startMs);
  }

  /** The series is known: its extras belong to it. */
  finish(columns: RemoteWriteColumns, reference: number, account: ExtrasAccount): void {
    const { own } = columns;
    for (let i = this.#firstEntry; i < own.count; i++) own.references[i] = reference;
    for (let i = 0; i < this.#starts.length; i += 2) {
      const startMs = this.#starts[i + 1]!;
      if (Math.abs(startMs) <= START_MS_MAX && this.#startTimes.isNews(reference, startMs)) {
        own.addStartTime(reference, this.#starts[i]!, startMs);
      }
    }
    account.refusedHistograms += this.#refusedHistograms;
    account.refusedExemplars += this.#refusedExemplars;
  }

  /** The series is refused, and its extras with it. */
  drop(columns: RemoteWriteColumns, account: ExtrasAccount): void {
    columns.own.count = this.#firstEntry;
    account.refusedHistograms += this.#histograms;
    account.refusedExemplars += this.#exemplars;
  }

  /** After a write that failed: start times may not have arrived. */
  forgetStartTimes(): void {
    this.#startTimes.clear();
  }
}

/** What a start time may be at most (extra-columns.ts). */
const START_MS_MAX = 2 ** 51;

function checkRoom({ own }: RemoteWriteColumns): void {
  if (own.count < REQUEST_SAMPLES_MAX && own.contentBytes < REQUEST_EXTRA_BYTES_MAX) return;
  throw new AppError(
    'resource_exhausted',
    `the request holds more than ${REQUEST_SAMPLES_MAX} histograms and exemplars, or ${REQUEST_EXTRA_BYTES_MAX} bytes of them; ` +
      'send fewer per request (max_samples_per_send)',
  );
}

function isAcceptable(labels: RemoteWriteLabels, bytes: Uint8Array, canonicalBytes: number): boolean {
  return (
    canonicalBytes <= EXEMPLAR_BYTES_MAX - 8 &&
    labels.charactersIn(bytes) <= EXEMPLAR_CHARACTERS_MAX &&
    labels.isUtf8In(bytes) &&
    !labels.hasDuplicatesIn(bytes)
  );
}

/** 1.0: a Label message. */
export function readExemplarLabel(cursor: ProtobufCursor, tag: number, labels: RemoteWriteLabels): boolean {
  if (tag !== TAG_EXEMPLAR_LABELS) return false;
  labels.addMessage(cursor, cursor.lengthEnd());
  return true;
}

/** 2.0: references to symbols, name and value in turn, packed. (Nobody packs them not, and a pair must not be torn.) */
export function createExemplarReferenceReader(symbols: RemoteWriteSymbols): ExemplarLabelReader {
  const read = (cursor: ProtobufCursor): number => {
    const at = cursor.at;
    const symbol = cursor.uint32();
    symbols.check(symbol, cursor, at);
    return symbol;
  };
  return (cursor, tag, labels) => {
    if (tag !== TAG_EXEMPLAR_LABELS) return false;
    const outer = cursor.end;
    const end = cursor.lengthEnd();
    const start = cursor.at;
    cursor.end = end;
    while (cursor.at < end) {
      const name = read(cursor);
      if (cursor.at === end)
        throw cursor.malformed('an exemplar has an odd number of label references', start);
      const value = read(cursor);
      labels.add(symbols.starts[name]!, symbols.ends[name]!, symbols.starts[value]!, symbols.ends[value]!);
    }
    cursor.end = outer;
    return true;
  };
}
