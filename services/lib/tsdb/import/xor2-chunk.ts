// Prometheus' XOR2 chunks of floats (docs/format/prometheus.md). Start times are passed over: imports write none.
import { AppError } from '../../core/errors.ts';
import {
  putStale,
  type SampleColumns,
  STALE_NAN_HIGH,
  STALE_NAN_LOW,
  wordsOf,
} from '../../model/sample-columns.ts';
import { BitReader, XorState } from './bit-reader.ts';

const HEADER_BYTES = 3;
const FIRST_START_KNOWN = 0x80;
const TIME_MS_MAX = 2 ** 51;
const TWO_32 = 2 ** 32;
/** Groups of seven bits of a 64-bit varint. */
const VARINT_GROUPS_MAX = 10;

/**
 * Appends the samples of bytes[start, end), a chunk's data; values bit for bit.
 *
 * @throws AppError `bad_data` when it is not whole.
 */
export function decodeXor2Chunk(bytes: Uint8Array, start: number, end: number, into: SampleColumns): void {
  if (end - start < HEADER_BYTES)
    throw new AppError('bad_data', `${end - start} bytes are too few for an XOR2 chunk`);
  const count = (bytes[start]! << 8) | bytes[start + 1]!;
  const chunk = new Xor2Samples(bytes[start + 2]!, new BitReader(bytes, start + HEADER_BYTES, end));
  // A bit at least for each.
  if (count > (end - start) * 8) throw new AppError('bad_data', `${count} samples in ${end - start} bytes`);
  into.reserve(into.count + count);
  const words = wordsOf(into.values);
  let beforeMs = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < count; i++) {
    chunk.next(i);
    if (!(Math.abs(chunk.timeMs) <= TIME_MS_MAX) || chunk.timeMs <= beforeMs)
      throw new AppError('bad_data', `time ${chunk.timeMs} ms after ${beforeMs}`);
    beforeMs = chunk.timeMs;
    const at = into.count++;
    into.timestampsMs[at] = chunk.timeMs;
    if (chunk.isStale) putStale(words, at);
    else {
      words[2 * at] = chunk.value.low;
      words[2 * at + 1] = chunk.value.high;
    }
  }
}

class Xor2Samples {
  timeMs = 0;
  isStale = false;
  /** Of the last sample that is no staleness marker. */
  readonly value = new XorState();
  readonly #bits: BitReader;
  readonly #isFirstStartKnown: boolean;
  readonly #startsFrom: number;
  #stepMs = 0;

  constructor(header: number, bits: BitReader) {
    this.#bits = bits;
    this.#isFirstStartKnown = (header & FIRST_START_KNOWN) !== 0;
    this.#startsFrom = header & (FIRST_START_KNOWN - 1);
  }

  next(index: number): void {
    this.isStale = false;
    if (index === 0) this.#first();
    else {
      if (index === 1) {
        this.#stepMs = this.#varint();
        this.#nextValue();
      } else this.#joint();
      this.timeMs += this.#stepMs;
      if (this.#startsFrom > 0 && index >= this.#startsFrom) this.#bits.signed();
    }
  }

  #first(): void {
    this.timeMs = unzigzag(this.#varint());
    const { value } = this;
    this.#bits.firstXor(value);
    this.isStale = value.high === STALE_NAN_HIGH && value.low === STALE_NAN_LOW;
    // A marker is not what the next value is compared with.
    if (this.isStale) value.high = value.low = 0;
    if (this.#isFirstStartKnown) this.#varint();
  }

  #joint(): void {
    const bits = this.#bits;
    switch (this.#ones(5)) {
      case 0:
        return;
      case 1:
        bits.xorBits(this.value, bits.bits(1) === 1);
        return;
      case 2:
        this.#changeStep(13);
        return;
      case 3:
        this.#changeStep(20);
        return;
      case 4: {
        const high = bits.bits(32) | 0;
        this.#stepMs += high * TWO_32 + bits.bits(32);
        this.#nextValue();
        return;
      }
      default:
        this.isStale = true;
    }
  }

  #changeStep(width: number): void {
    const code = this.#bits.bits(width);
    this.#stepMs += code >= 2 ** (width - 1) ? code - 2 ** width : code;
    this.#nextValue();
  }

  #nextValue(): void {
    const ones = this.#ones(3);
    if (ones === 3) this.isStale = true;
    else if (ones > 0) this.#bits.xorBits(this.value, ones === 2);
  }

  /** Ones up to a zero, or `max` of them. */
  #ones(max: number): number {
    let ones = 0;
    while (ones < max && this.#bits.bits(1) === 1) ones++;
    return ones;
  }

  /** Unsigned; beyond 2^53 it is rounded, which the check of times finds. */
  #varint(): number {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < VARINT_GROUPS_MAX; i++) {
      const byte = this.#bits.bits(8);
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
    throw new AppError('bad_data', 'a varint of more than 64 bits');
  }
}

function unzigzag(code: number): number {
  return code % 2 === 0 ? code / 2 : -(code + 1) / 2;
}
