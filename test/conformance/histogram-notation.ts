// Native histograms in test scripts: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.
import {
  type BucketList,
  type CounterResetHint,
  emptyBuckets,
  FloatHistogram,
} from '../../services/lib/model/float-histogram.ts';
import { parseValue } from '../../services/lib/model/number-format.ts';

export interface HistogramLiteral {
  readonly histogram: FloatHistogram;
  /** The hint was written: an expectation then includes it. */
  readonly hasHint: boolean;
}

/** Parses a literal with its braces. */
export function parseHistogram(text: string): HistogramLiteral {
  const histogram = new FloatHistogram();
  let hasHint = false;
  let offset = 0;
  let negativeOffset = 0;
  let buckets: number[] = [];
  let negativeBuckets: number[] = [];
  for (const match of text.slice(2, -2).matchAll(/(\w+):(\[[^\]]*\]|[^\s\]]+)/g)) {
    const [, key, written] = match as unknown as [string, string, string];
    switch (key) {
      case 'schema':
        histogram.schema = numberOf(written);
        break;
      case 'sum':
        histogram.sum = numberOf(written);
        break;
      case 'count':
        histogram.count = numberOf(written);
        break;
      case 'z_bucket':
        histogram.zeroCount = numberOf(written);
        break;
      case 'z_bucket_w':
        histogram.zeroThreshold = numberOf(written);
        break;
      case 'custom_values':
        histogram.customBounds = numbersOf(written);
        break;
      case 'offset':
        offset = numberOf(written);
        break;
      case 'n_offset':
        negativeOffset = numberOf(written);
        break;
      case 'buckets':
        buckets = numbersOf(written);
        break;
      case 'n_buckets':
        negativeBuckets = numbersOf(written);
        break;
      case 'counter_reset_hint':
        histogram.hint = written as CounterResetHint;
        hasHint = true;
        break;
      default:
        throw new Error(`unknown field ${key} in histogram ${text}`);
    }
  }
  histogram.positive = bucketsFrom(offset, buckets);
  histogram.negative = bucketsFrom(negativeOffset, negativeBuckets);
  return { histogram, hasHint };
}

function bucketsFrom(offset: number, counts: readonly number[]): BucketList {
  const list = emptyBuckets();
  counts.forEach((count, i) => {
    if (count === 0) return;
    list.indexes.push(offset + i);
    list.counts.push(count);
  });
  return list;
}

function numbersOf(text: string): number[] {
  return (text.slice(1, -1).match(/\S+/g) ?? []).map(numberOf);
}

function numberOf(text: string): number {
  const value = parseValue(text);
  if (value === undefined) throw new Error(`malformed number ${text} in a histogram`);
  return value;
}

/** `base`, `base + step`, … : `count` further histograms. */
export function histogramSequence(
  base: HistogramLiteral,
  step: HistogramLiteral | undefined,
  sign: 1 | -1,
  count: number,
): HistogramLiteral[] {
  const out = [base];
  let current = base.histogram;
  for (let i = 0; i < count; i++) {
    current = current.copy();
    if (step !== undefined) {
      const { incompatible } = sign === 1 ? current.add(step.histogram) : current.subtract(step.histogram);
      if (incompatible) throw new Error('histograms of a sequence have different kinds of buckets');
    }
    out.push({ histogram: current, hasHint: base.hasHint });
  }
  return out;
}

/** As the scripts write it, for messages. */
export function printHistogram(histogram: FloatHistogram): string {
  const fields = [`schema:${histogram.schema}`, `count:${histogram.count}`, `sum:${histogram.sum}`];
  if (histogram.zeroCount !== 0) fields.push(`z_bucket:${histogram.zeroCount}`);
  if (histogram.zeroThreshold !== 0) fields.push(`z_bucket_w:${histogram.zeroThreshold}`);
  if (histogram.customBounds.length > 0) fields.push(`custom_values:[${histogram.customBounds.join(' ')}]`);
  fields.push(`counter_reset_hint:${histogram.hint}`);
  fields.push(...printBuckets('', histogram.positive), ...printBuckets('n_', histogram.negative));
  return `{{${fields.join(' ')}}}`;
}

function printBuckets(prefix: string, { indexes, counts }: BucketList): string[] {
  return indexes.length === 0
    ? []
    : [`${prefix}buckets:${indexes.map((index, i) => `${index}=${counts[i]}`).join(',')}`];
}
