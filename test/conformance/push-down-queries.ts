// Generated series and queries for push-down: few label values, so that groups span shards and label sets collide; few sample
// values, so that there are ties; gaps, NaN and infinities; native histograms of several kinds.
import { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { pick, type Random } from '../support/random.ts';
import { type LoadedSample, MemoryQueryable } from './memory-queryable.ts';

const INTERVAL_MS = 30_000;
const SAMPLES = 40;
export const SERIES_END_MS = INTERVAL_MS * (SAMPLES - 1);

/** Values are multiples of 1/4: sums of them are exact in any order. */
export function generateStorage(random: Random): MemoryQueryable {
  const storage = new MemoryQueryable();
  const add = (
    name: string,
    more: Record<string, string>,
    sample: (at: number) => Partial<LoadedSample>,
  ): void => {
    const labels = Labels.from(Object.entries({ __name__: name, ...more }));
    const samples: LoadedSample[] = [];
    for (let at = 0; at < SAMPLES; at++) {
      if (random() < 0.1) continue;
      const isStale = random() < 0.02;
      samples.push({ timeMs: at * INTERVAL_MS, value: 0, isStale, ...(isStale ? {} : sample(at)) });
    }
    if (samples.length > 0) storage.append(labels, samples);
  };
  for (const a of ['x', 'y', 'z']) {
    for (let i = 0; i < 5; i++) {
      const own = { a, i: String(i) };
      add('m', own, () => ({ value: gauge(random) }));
      if (i < 3) add('n', { ...own, c: random() < 0.5 ? 'p' : '' }, () => ({ value: gauge(random) }));
      let total = 0;
      add('c_total', own, () => ({
        value: random() < 0.05 ? (total = 0) : (total += Math.floor(random() * 9) / 4),
      }));
      if (i < 2) add('odd', own, () => ({ value: pick(random, ODD) }));
      if (i < 3) add('h', own, (at) => ({ histogram: histogram(random, at, false) }));
      if (i < 2) add('nhcb', own, (at) => ({ histogram: histogram(random, at, true) }));
      if (i < 2)
        add('typed', { ...own, __type__: i === 0 ? 'gauge' : 'counter' }, () => ({ value: gauge(random) }));
      for (const le of ['0.5', '1', '+Inf']) {
        if (i < 2)
          add('b_bucket', { ...own, le }, (at) => ({ value: at * (le === '0.5' ? 1 : le === '1' ? 2 : 3) }));
      }
    }
  }
  // Differ in the name only, and one of them is not there all the time.
  add('late', { a: 'x' }, (at) => ({ value: at }));
  add('later', { a: 'x' }, () => ({ value: 1 }));
  return storage;
}

const ODD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1, 2.5, -3];

function gauge(random: Random): number {
  return Math.floor(random() * 12) / 4 - 1;
}

function histogram(random: Random, at: number, isCustom: boolean): FloatHistogram {
  const made = new FloatHistogram();
  const counts = [at, 2 * at, at + Math.floor(random() * 3)];
  if (isCustom) {
    made.schema = -53;
    made.customBounds = [0.5, 1, 2];
  } else {
    made.schema = random() < 0.2 ? 1 : 0;
    made.zeroThreshold = 0.001;
    made.zeroCount = at;
  }
  made.positive.indexes.push(0, 1, 3);
  made.positive.counts.push(...counts);
  made.count = made.zeroCount + counts.reduce((sum, count) => sum + count, 0);
  made.sum = at * 2.5;
  return made;
}

const SELECTORS = [
  'm',
  'm{a="x"}',
  'm{i=~"[123]"}',
  'n',
  '{__name__=~"m|n"}',
  '{__name__=~"late.*"}',
  '{__name__=~"m|h"}',
  'c_total',
  'odd',
  'h',
  'nhcb',
  '{__name__=~"h|nhcb"}',
  'typed',
  'b_bucket',
  'missing',
];

function selector(random: Random): string {
  return pick(random, SELECTORS);
}

function modified(random: Random, text: string): string {
  const dice = random();
  if (dice < 0.1) return `${text} offset 1m`;
  if (dice < 0.15) return `${text} @ 600`;
  return dice < 0.2 ? `${text} @ end()` : text;
}

function seriesWise(random: Random, depth: number): string {
  const inner = (): string =>
    depth > 0 ? seriesWise(random, depth - 1) : modified(random, selector(random));
  const range = (): string => modified(random, `${selector(random)}[${pick(random, ['2m', '5m'])}]`);
  return pick(random, [
    () => modified(random, selector(random)),
    () => `${pick(random, ['rate', 'increase', 'delta', 'irate', 'changes', 'resets'])}(${range()})`,
    () => `${pick(random, ['sum', 'avg', 'min', 'max', 'count', 'last', 'present'])}_over_time(${range()})`,
    () => `${pick(random, ['max', 'count', 'last'])}_over_time((${inner()})[4m:1m])`,
    () => `quantile_over_time(${pick(random, ['0.5', '2'])}, ${range()})`,
    () => `${pick(random, ['abs', 'floor', 'sgn', 'timestamp', '-', '+'])}(${inner()})`,
    () => `${pick(random, ['histogram_count', 'histogram_sum', 'histogram_avg'])}(${inner()})`,
    () => `clamp(${inner()}, -0.5, ${pick(random, ['1', 'time() / 600'])})`,
    () => `round(${inner()})`,
    () => `(${inner()}) ${pick(random, ['*', '+', '/', '%'])} ${pick(random, ['2', 'time()', '-1'])}`,
    () =>
      `(${inner()}) ${pick(random, ['>', '<=', '==', '!=', '> bool'])} ${pick(random, ['0', '0.5', '1'])}`,
    () => `label_replace(${inner()}, "${pick(random, ['new', 'a', 'i'])}", "$1", "i", "(.).*")`,
    () => `label_join(${inner()}, "${pick(random, ['new', 'a'])}", "-", "a", "c")`,
    () => `limit_ratio(${pick(random, ['0.5', '-0.3', '0'])}, ${inner()})`,
  ])();
}

function aggregation(random: Random, depth: number): string {
  const grouping = pick(random, ['', ' by (a)', ' by (i)', ' without (i)', ' by (a, i)', ' by (new)']);
  const input = depth > 0 && random() < 0.2 ? aggregation(random, depth - 1) : seriesWise(random, depth);
  const plain = ['sum', 'avg', 'count', 'min', 'max', 'group', 'stddev', 'stdvar'];
  return pick(random, [
    () => `${pick(random, plain)}${grouping}(${input})`,
    () => `${pick(random, plain)}${grouping}(${input})`,
    () => `${pick(random, ['topk', 'bottomk', 'limitk'])}${grouping}(${pick(random, K)}, ${input})`,
    // Of what is rounded it would count other values.
    () => `count_values${grouping}("v", ${seriesWise(random, depth)})`,
    () => `quantile${grouping}(0.5, ${input})`,
  ])();
}

const K = ['1', '2', '3', '5', '0', 'time() / 300', 'scalar(count(m))'];

/** A query in which no rounding of sums decides what is in the result. */
export function generatePushDownQuery(random: Random): string {
  const depth = Math.floor(random() * 3);
  const one = (): string => aggregation(random, depth);
  return pick(random, [
    one,
    one,
    one,
    one,
    () => seriesWise(random, depth),
    () => `${one()} ${pick(random, ['+', '*', 'and', 'or', 'unless'])} on (a) group(m) by (a)`,
    () => `sum by (a, i) (c_total) / on (a, i) group_left (c) n`,
    () => `${seriesWise(random, 0)} ${pick(random, ['or', 'and', 'unless'])} ${seriesWise(random, 0)}`,
    () => `histogram_quantile(0.9, sum by (le, a) (rate(b_bucket[3m])))`,
    () => `histogram_quantile(0.5, sum by (a) (${selector(random)}))`,
    () => `sort_desc(${one()})`,
    () => `absent(${one()})`,
    () => `vector(scalar(${one()}))`,
    () => `max_over_time((${one()})[5m:1m])`,
    () => `count(max_over_time((count by (a) (${seriesWise(random, 0)}))[4m:1m] @ 900))`,
  ])();
}
