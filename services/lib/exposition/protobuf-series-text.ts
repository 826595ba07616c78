// Series of a protobuf exposition as the text of a line: name, suffix, labels and bound, so that what knows series by their
// text (caches, relabelling) need not know the format. Nothing is allocated for a series whose bounds were seen before.
import { ByteWriter, encodeUtf8 } from '../core/bytes.ts';
import { type ProtobufCursor, WIRE_BYTES } from '../core/protobuf-cursor.ts';
import { formatBound } from './bucket-label.ts';
import { scanLabelName, scanMetricName } from './series-text.ts';

const TAG_LABEL_NAME = (1 << 3) | WIRE_BYTES;
const TAG_LABEL_VALUE = (2 << 3) | WIRE_BYTES;

const NEWLINE = 10;
const BLANK = 32;
const QUOTE = 34;
const COMMA = 44;
const EQUALS = 61;
const BACKSLASH = 92;
const LETTER_N = 110;
const BRACE_OPEN = 123;
const BRACE_CLOSE = 125;

const NOTHING = new Uint8Array(0);
/** Different bounds of a target are some hundreds; a target that invents new ones all the time makes the table start anew. */
const BOUNDS_KEPT_MAX = 4096;

export class ProtobufSeriesText {
  /** The text built last, in bytes[0, length); a series' is followed by a blank, which ends it as in a line. */
  readonly text = new ByteWriter(512);
  readonly #name = new ByteWriter(128);
  /** Pairs of the metric, each with a comma behind it. */
  readonly #labels = new ByteWriter(512);
  #isClassicName = true;
  readonly #bounds = new Map<number, Uint8Array>();

  /** The family's name is bytes[start, end). */
  setName(bytes: Uint8Array, start: number, end: number): void {
    this.#isClassicName = scanMetricName(bytes, start, end) === end && end > start;
    this.#name.reset();
    if (this.#isClassicName) this.#name.raw(bytes, start, end);
    else putEscaped(bytes, start, end, this.#name);
  }

  /** Call before the labels of a metric or an exemplar. */
  clearLabels(): void {
    this.#labels.reset();
  }

  /** Adds a LabelPair, [cursor.at, end), and moves behind it. */
  addLabel(cursor: ProtobufCursor, end: number): void {
    let nameStart = 0;
    let nameEnd = 0;
    let valueStart = 0;
    let valueEnd = 0;
    const outer = cursor.end;
    cursor.end = end;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag === TAG_LABEL_NAME) {
        nameEnd = cursor.lengthEnd();
        nameStart = cursor.at;
        cursor.at = nameEnd;
      } else if (tag === TAG_LABEL_VALUE) {
        valueEnd = cursor.lengthEnd();
        valueStart = cursor.at;
        cursor.at = valueEnd;
      } else if (tag >>> 3 <= 2) throw cursor.wrongWireType(tag, 'LabelPair.name or value');
      else cursor.skip(tag);
    }
    cursor.end = outer;
    const { bytes } = cursor;
    const out = this.#labels;
    const isClassic = nameEnd > nameStart && scanLabelName(bytes, nameStart, nameEnd) === nameEnd;
    if (isClassic) out.raw(bytes, nameStart, nameEnd);
    else {
      out.u8(QUOTE);
      putEscaped(bytes, nameStart, nameEnd, out);
      out.u8(QUOTE);
    }
    out.u8(EQUALS);
    out.u8(QUOTE);
    putEscaped(bytes, valueStart, valueEnd, out);
    out.u8(QUOTE);
    out.u8(COMMA);
  }

  /**
   * Writes `text`: the series of the family's name with a suffix.
   *
   * @param boundLabel  `le` or `quantile`, or nothing.
   */
  build(suffix: Uint8Array = NOTHING, boundLabel: Uint8Array = NOTHING, bound = 0): void {
    const { text } = this;
    text.reset();
    this.#putName(suffix);
    text.raw(this.#labels.bytes, 0, this.#labels.length);
    if (boundLabel.length > 0) {
      text.raw(boundLabel);
      text.u8(EQUALS);
      text.u8(QUOTE);
      text.raw(this.#boundText(bound));
      text.u8(QUOTE);
    }
    text.u8(BRACE_CLOSE);
    text.reserve(1);
    text.bytes[text.length] = BLANK;
  }

  /** Writes `text`: braces with the labels alone, as an exemplar has them. */
  buildLabels(): void {
    const { text } = this;
    text.reset();
    text.u8(BRACE_OPEN);
    text.raw(this.#labels.bytes, 0, this.#labels.length);
    text.u8(BRACE_CLOSE);
  }

  /** Writes `text`: a line of metadata, name and escaped text. Returns where the text starts. */
  buildMetadata(source: Uint8Array, start: number, end: number): { nameEnd: number; textStart: number } {
    const { text } = this;
    text.reset();
    if (!this.#isClassicName) text.u8(QUOTE);
    text.raw(this.#name.bytes, 0, this.#name.length);
    if (!this.#isClassicName) text.u8(QUOTE);
    const nameEnd = text.length;
    text.u8(BLANK);
    const textStart = text.length;
    putEscaped(source, start, end, text);
    return { nameEnd, textStart };
  }

  #putName(suffix: Uint8Array): void {
    const { text } = this;
    const quoted = !this.#isClassicName;
    if (quoted) {
      text.u8(BRACE_OPEN);
      text.u8(QUOTE);
    }
    text.raw(this.#name.bytes, 0, this.#name.length);
    text.raw(suffix);
    if (quoted) {
      text.u8(QUOTE);
      text.u8(COMMA);
    } else text.u8(BRACE_OPEN);
  }

  #boundText(bound: number): Uint8Array {
    const known = this.#bounds.get(bound);
    if (known !== undefined) return known;
    if (this.#bounds.size >= BOUNDS_KEPT_MAX) this.#bounds.clear();
    const made = encodeUtf8(formatBound(bound));
    this.#bounds.set(bound, made);
    return made;
  }
}

/** Appends bytes[start, end) with the escapes of label values. */
function putEscaped(bytes: Uint8Array, start: number, end: number, out: ByteWriter): void {
  out.reserve(2 * (end - start));
  const target = out.bytes;
  let to = out.length;
  for (let i = start; i < end; i++) {
    const c = bytes[i]!;
    if (c === QUOTE || c === BACKSLASH || c === NEWLINE) {
      target[to++] = BACKSLASH;
      target[to++] = c === NEWLINE ? LETTER_N : c;
    } else target[to++] = c;
  }
  out.length = to;
}
