// Native histograms in aggregations: sum and avg add them up beside the floats, count and group take them for any
// sample, the others leave them out and say so.
import type { Bucket, FloatHistogram } from '../../../model/float-histogram.ts';
import { type Labels, METRIC_NAME } from '../../../model/labels.ts';
import type { Position } from '../../ast.ts';
import type { StreamedOperator } from '../aggregation/accumulators.ts';
import type { Annotations } from '../annotations.ts';
import { formatG } from '../go-format.ts';
import { ABSENT, dropHistograms, FLOAT, HISTOGRAM, type StepColumn } from '../operand.ts';
import { HistogramSum, type PartialSum } from './histogram-sum.ts';

/** Sums of histograms by cell. */
export class HistogramCells {
  readonly #operator: StreamedOperator;
  readonly #position: Position;
  readonly #annotations: Annotations;
  readonly #sums = new Map<number, HistogramSum>();

  constructor(operator: StreamedOperator, position: Position, annotations: Annotations) {
    this.#operator = operator;
    this.#position = position;
    this.#annotations = annotations;
  }

  /** Takes the histograms out of a column; what the operator counts like floats stays in it as such. */
  take(offset: number, column: StepColumn, labels: Labels): void {
    const { kinds, histograms } = column;
    if (!kinds.includes(HISTOGRAM)) return;
    switch (this.#operator) {
      case 'count':
      case 'group':
        for (let k = 0; k < kinds.length; k++) if (kinds[k] === HISTOGRAM) kinds[k] = FLOAT;
        return;
      case 'sum':
      case 'avg':
        for (let k = 0; k < kinds.length; k++) {
          if (kinds[k] === HISTOGRAM) this.#add(offset + k, histograms[k]!, labels.get(METRIC_NAME));
        }
        break;
      default:
        this.#annotations.histogramIgnored(this.#operator, this.#position);
    }
    dropHistograms(column);
  }

  /** Sums by cell, before they are finished. */
  get sums(): ReadonlyMap<number, HistogramSum> {
    return this.#sums;
  }

  /** Adds a part's sum to a cell; false where the order of additions would show. */
  absorb(cell: number, partial: PartialSum): boolean {
    return this.#sumOf(cell, '').absorb(partial);
  }

  /** The results by cell. Cells that have floats too have no result. */
  finish(kinds: Uint8Array): ReadonlyMap<number, FloatHistogram> {
    const results = new Map<number, FloatHistogram>();
    for (const [cell, sum] of this.#sums) {
      if (kinds[cell] !== ABSENT) {
        this.#annotations.mixedSamplesInAggregation(this.#position);
        kinds[cell] = ABSENT;
        continue;
      }
      const result = sum.finish();
      if (result === undefined) continue;
      kinds[cell] = HISTOGRAM;
      results.set(cell, result);
    }
    return results;
  }

  #add(cell: number, histogram: FloatHistogram, metric: string): void {
    this.#sumOf(cell, metric).add(histogram, metric);
  }

  #sumOf(cell: number, metric: string): HistogramSum {
    let sum = this.#sums.get(cell);
    if (sum === undefined) {
      const context = { metric, position: this.#position, annotations: this.#annotations };
      sum = new HistogramSum(context, this.#operator === 'avg');
      this.#sums.set(cell, sum);
    }
    return sum;
  }
}

/** A histogram as count_values() puts it into a label. */
export function printHistogram(histogram: FloatHistogram): string {
  const parts = [`{count:${formatG(histogram.count)}`, `sum:${formatG(histogram.sum)}`];
  for (const bucket of histogram.buckets(true)) {
    if (bucket.count !== 0) parts.push(printBucket(histogram, bucket));
  }
  return `${parts.join(', ')}}`;
}

/** Positive buckets include their upper bound, negative ones their lower, the zero bucket and custom ones below 0 both. */
function printBucket(histogram: FloatHistogram, { lower, upper, count }: Bucket): string {
  const isNegative = !histogram.hasCustomBounds && upper <= 0;
  const isZero = !histogram.hasCustomBounds && lower <= 0 && upper >= 0;
  const isCustomNegative = histogram.hasCustomBounds && lower < 0;
  const open = isZero || isNegative || isCustomNegative ? '[' : '(';
  const close = isNegative && !isZero ? ')' : ']';
  return `${open}${formatG(lower)},${formatG(upper)}${close}:${formatG(count)}`;
}
