// Writes one native histogram as a chunk of Prometheus' float histograms (tsdb/docs/format/prometheus.md, "Histogram chunks"): a
// chunk of one needs no differences, so that its sums and counts stand there as they are.
import type { BucketList, FloatHistogram } from '../../model/float-histogram.ts';

/** Byte of a zero threshold that is written out. */
const THRESHOLD_IN_FULL = 255;
const HINT_BITS = { unknown: 0, not_reset: 0x40, reset: 0x80, gauge: 0xc0 } as const;
/** Bits of a number whose code has 1, 2 … 8 ones in front; below that, a zero. */
const WIDTHS = [3, 6, 9, 12, 18, 25, 56, 64];

/** Spans of buckets as protocols have them: `[gap to the span before, or first index; buckets]`. */
export function spansOf({ indexes }: BucketList): readonly (readonly [offset: number, length: number])[] {
  const spans: [number, number][] = [];
  let behind = 0;
  for (const [i, index] of indexes.entries()) {
    const last = spans.at(-1);
    if (i > 0 && index === behind) last![1]++;
    else spans.push([index - behind, 1]);
    behind = index + 1;
  }
  return spans;
}

/** The chunk's data. */
export function encodeHistogramChunk(timeMs: number, histogram: FloatHistogram): Uint8Array<ArrayBuffer> {
  const bits = new BitWriter();
  bits.bits(1, 16);
  bits.bits(HINT_BITS[histogram.hint], 8);
  if (Object.is(histogram.zeroThreshold, 0)) bits.bits(0, 8);
  else {
    bits.bits(THRESHOLD_IN_FULL, 8);
    bits.double(histogram.zeroThreshold);
  }
  bits.signed(histogram.schema);
  putSpans(bits, histogram.positive);
  putSpans(bits, histogram.negative);
  if (histogram.hasCustomBounds) {
    bits.unsigned(histogram.customBounds.length);
    for (const bound of histogram.customBounds) {
      bits.unsigned(0);
      bits.double(bound);
    }
  }
  bits.signed(timeMs);
  bits.double(histogram.count);
  bits.double(histogram.zeroCount);
  bits.double(histogram.sum);
  for (const count of histogram.positive.counts) bits.double(count);
  for (const count of histogram.negative.counts) bits.double(count);
  return bits.take();
}

function putSpans(bits: BitWriter, buckets: BucketList): void {
  const spans = spansOf(buckets);
  bits.unsigned(spans.length);
  for (const [offset, length] of spans) {
    bits.unsigned(length);
    bits.signed(offset);
  }
}

/** Bits from the most significant one down; the last byte is filled up with zeros. */
class BitWriter {
  readonly #bytes: number[] = [];
  readonly #double = new DataView(new ArrayBuffer(8));
  #used = 8;

  /** The lowest `count` (up to 32) bits of a number. */
  bits(value: number, count: number): void {
    for (let i = count - 1; i >= 0; i--) {
      if (this.#used === 8) {
        this.#bytes.push(0);
        this.#used = 0;
      }
      const bit = Math.floor(value / 2 ** i) % 2;
      this.#bytes[this.#bytes.length - 1]! |= bit << (7 - this.#used++);
    }
  }

  double(value: number): void {
    this.#double.setFloat64(0, value);
    this.bits(this.#double.getUint32(0), 32);
    this.bits(this.#double.getUint32(4), 32);
  }

  /** Code of an unsigned number: ones that say how wide it is, a zero, the number. */
  unsigned(value: number): void {
    this.#code(BigInt(value), (width) => BigInt(value) < 1n << BigInt(width));
  }

  /** The same for a signed one, which is taken as negative above half of its width. */
  signed(value: number): void {
    const wide = BigInt(value);
    this.#code(wide, (width) => {
      const half = 1n << BigInt(width - 1);
      return wide > -half && wide <= half;
    });
  }

  #code(value: bigint, fits: (width: number) => boolean): void {
    if (value === 0n) {
      this.bits(0, 1);
      return;
    }
    const ones = WIDTHS.findIndex((width) => width === 64 || fits(width)) + 1;
    // The widest code has no zero behind its ones.
    if (ones === WIDTHS.length) this.bits(0xff, 8);
    else this.bits(2 ** (ones + 1) - 2, ones + 1);
    const width = WIDTHS[ones - 1]!;
    const code = BigInt.asUintN(width, value);
    if (width > 32) this.bits(Number(code >> 32n), width - 32);
    this.bits(Number(code & 0xffff_ffffn), Math.min(32, width));
  }

  take(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }
}
