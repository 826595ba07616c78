// Native histogram samples of one series: collected from chunks and loose bytes, then sorted by time, each time once.
import { ByteWriter, compareBytes } from '../../core/bytes.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { type CountsKind, decodeHistogram, encodeHistogram } from '../../model/histogram-codec.ts';

/** Growing columns of histogram samples; reused from series to series. Index lists of buckets may be shared between samples. */
export class HistogramSamples {
  /** Unix ms. */
  timestampsMs: number[] = [];
  histograms: FloatHistogram[] = [];
  kinds: CountsKind[] = [];

  get count(): number {
    return this.timestampsMs.length;
  }

  clear(): void {
    this.timestampsMs.length = 0;
    this.histograms.length = 0;
    this.kinds.length = 0;
  }

  add(timeMs: number, histogram: FloatHistogram, kind: CountsKind): void {
    this.timestampsMs.push(timeMs);
    this.histograms.push(histogram);
    this.kinds.push(kind);
  }

  /** Adds the histogram in bytes[start, end). @throws AppError `bad_data` when they are none. */
  addEncoded(timeMs: number, bytes: Uint8Array, start: number, end: number): void {
    const { histogram, kind } = decodeHistogram(bytes, start, end);
    this.add(timeMs, histogram, kind);
  }

  /**
   * Sorts by time and keeps one histogram for each time: of different ones that with the greatest bytes (histogram-codec.ts), so
   * that the result does not depend on the order of the input.
   */
  sortAndDedupe(): void {
    const { timestampsMs, histograms, kinds, count } = this;
    let i = 1;
    while (i < count && timestampsMs[i]! > timestampsMs[i - 1]!) i++;
    if (i >= count) return;
    const order = Uint32Array.from({ length: count }, (_, at) => at);
    order.sort((a, b) => timestampsMs[a]! - timestampsMs[b]! || a - b);
    this.timestampsMs = [];
    this.histograms = [];
    this.kinds = [];
    for (const at of order) {
      const last = this.count - 1;
      if (this.timestampsMs[last] !== timestampsMs[at]) {
        this.add(timestampsMs[at]!, histograms[at]!, kinds[at]!);
      } else if (isGreater(histograms[at]!, kinds[at]!, this.histograms[last]!, this.kinds[last]!)) {
        this.histograms[last] = histograms[at]!;
        this.kinds[last] = kinds[at]!;
      }
    }
  }
}

/** The tie-break: the bytes of `a` above those of `b`. */
function isGreater(a: FloatHistogram, kindOfA: CountsKind, b: FloatHistogram, kindOfB: CountsKind): boolean {
  const bytesOfA = new ByteWriter(256);
  encodeHistogram(a, kindOfA, bytesOfA);
  const bytesOfB = new ByteWriter(256);
  encodeHistogram(b, kindOfB, bytesOfB);
  return compareBytes(bytesOfA.take(), bytesOfB.take()) > 0;
}
