// Generated data and queries for the comparison with another Prometheus. What 3.x does otherwise than 2.42 on purpose is
// kept out by rule, here and in the times: docs of each rule stand where it is kept.
import { pick, type Random } from '../support/random.ts';
import type { WrittenSeries } from '../support/remote-write-body.ts';

/** The data's first instant; a whole minute, so that only the offsets below decide what coincides with what. */
export const BASE_MS = 1_700_000_040_000;
export const HOUR_MS = 3_600_000;

const INTERVAL_MS = 15_000;
const STALE_BITS = 0x7ff0000000000002n;

/**
 * An hour of series at 15 s. Samples stand 1 … 400 ms behind a whole second, evaluation times half a second behind one,
 * steps of subqueries on one, ranges are whole seconds: so no sample is ever on the edge of a window or of the lookback,
 * where 3.x (left-open) and 2.42 (closed) differ. Values are multiples of 1/4: their sums are exact in any order.
 * Counters stay far from zero: 3.x limits extrapolation at zero in another order.
 */
export function generateSeries(random: Random): WrittenSeries[] {
  const series: WrittenSeries[] = [];
  for (const job of ['api', 'db', 'web']) {
    for (let i = 0; i < 4; i++) {
      const labels = { job, instance: `host-${i}`, zone: i % 2 === 0 ? 'a' : 'b' };
      const jitterMs = 1 + Math.floor(random() * 399);
      const add = (
        name: string,
        values: readonly (number | undefined)[],
        more: Record<string, string> = {},
      ): void => {
        const samples = values.flatMap((value, at): [number, number][] =>
          value === undefined ? [] : [[BASE_MS + at * INTERVAL_MS + jitterMs, value]],
        );
        series.push({ labels: { __name__: name, ...labels, ...more }, samples });
      };
      add('requests_total', counter(random));
      add('errors_total', counter(random));
      add('memory_bytes', gauge(random, 0));
      add('temperature', gauge(random, 0.15));
      if (i < 2) add('odd_values', oddities(random));
      for (const [bucket, le] of ['0.1', '0.5', '1', '+Inf'].entries()) {
        add('latency_seconds_bucket', bucketCounter(bucket), { le });
      }
    }
    series.push({
      labels: { __name__: 'job_info', job, owner: `team-${job}` },
      samples: Array.from({ length: 240 }, (_, at) => [BASE_MS + at * INTERVAL_MS + 77, 1]),
    });
  }
  return series;
}

const COUNT = HOUR_MS / INTERVAL_MS;

function counter(random: Random): number[] {
  let value = 1_000_000 + Math.floor(random() * 1000);
  return Array.from({ length: COUNT }, () => {
    value = random() < 0.01 ? 100_000 + Math.floor(random() * 1000) : value + Math.floor(random() * 400) / 4;
    return value;
  });
}

/** With gaps, and with staleness markers at some of their starts. */
function gauge(random: Random, gaps: number): (number | undefined)[] {
  let missing = 0;
  return Array.from({ length: COUNT }, () => {
    if (missing > 0) {
      missing--;
      return undefined;
    }
    if (random() < gaps / 10) {
      missing = Math.floor(random() * 40);
      return random() < 0.5 ? staleMarker() : undefined;
    }
    return Math.floor(random() * 4000) / 4 - 200;
  });
}

function oddities(random: Random): number[] {
  return Array.from({ length: COUNT }, () =>
    pick(random, [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1, 2.5, -3]),
  );
}

/** Counters of one histogram, each bucket above the one below it at any time. */
function bucketCounter(bucket: number): number[] {
  return Array.from(
    { length: COUNT },
    (_, at) => 10_000 * (bucket + 1) + at * (bucket + 1) * 8 + (at % 7) * bucket,
  );
}

function staleMarker(): number {
  return new Float64Array(new BigUint64Array([STALE_BITS]).buffer)[0]!;
}

/** A query in both dialects. */
export interface GeneratedQuery {
  /** As 3.x writes it. */
  readonly query: string;
  /** As 2.42 writes it. */
  readonly old: string;
}

/** A query of up to three levels. */
export function generateQuery(random: Random): GeneratedQuery {
  const query = vector(random, 3);
  return { query, old: query.replaceAll('double_exponential_smoothing', 'holt_winters') };
}

const METRICS = ['requests_total', 'errors_total', 'memory_bytes', 'temperature'];
const MATCHERS = [
  'job="api"',
  'job!="db"',
  'instance=~"host-[01]"',
  'zone!~"a|c"',
  'instance="host-3"',
  'missing=""',
];
const RANGES = ['1m', '2m', '5m', '7m', '15m', '40s'];
const LABELS = ['job', 'instance', 'zone', 'job, zone', 'instance, job', ''];

function selector(random: Random, metrics: readonly string[] = METRICS): string {
  const matchers = random() < 0.4 ? `{${pick(random, MATCHERS)}}` : '';
  return pick(random, metrics) + matchers;
}

/** `@` times are half a second behind a whole one, as all evaluation times. */
function modifiers(random: Random): string {
  if (random() < 0.12) return ` offset ${pick(random, ['1m', '90s', '-2m', '10m'])}`;
  if (random() < 0.08) return ` @ ${BASE_MS / 1000 + 1800 + Math.floor(random() * 600)}.5`;
  return random() < 0.04 ? pick(random, [' @ start()', ' @ end()']) : '';
}

function instant(random: Random): string {
  return selector(random) + modifiers(random);
}

function range(random: Random, metrics?: readonly string[]): string {
  return `${selector(random, metrics)}[${pick(random, RANGES)}]${modifiers(random)}`;
}

/**
 * Something exact: values that no order of additions changes. Rounding, comparing and ranking start from these, because
 * a last digit that differs would become a difference of 1 there.
 */
function exact(random: Random): string {
  switch (Math.floor(random() * 5)) {
    case 0:
      return `${pick(random, ['min', 'max', 'sum', 'count', 'last', 'present'])}_over_time(${range(random)})`;
    case 1:
      return `${pick(random, ['sum', 'min', 'max', 'count', 'group'])}${grouping(random)}(${instant(random)})`;
    case 2:
      return `${pick(random, ['changes', 'resets'])}(${range(random, [...METRICS, 'odd_values'])})`;
    default:
      return instant(random);
  }
}

function grouping(random: Random): string {
  return random() < 0.2 ? ' ' : ` ${pick(random, ['by', 'without'])} (${pick(random, LABELS)}) `;
}

type Maker = (random: Random, depth: number) => string;

const RANGE_CALLS: readonly Maker[] = [
  (random) =>
    `${pick(random, ['rate', 'increase', 'irate', 'resets'])}(${range(random, ['requests_total', 'errors_total'])})`,
  (random) => `${pick(random, ['delta', 'idelta', 'deriv', 'changes'])}(${range(random)})`,
  (random) => `${pick(random, ['avg', 'sum', 'min', 'max', 'count'])}_over_time(${range(random)})`,
  (random) => `${pick(random, ['stddev', 'stdvar', 'last', 'present'])}_over_time(${range(random)})`,
  (random) => `quantile_over_time(${pick(random, ['0', '0.3', '0.95', '1', '1.5', '-1'])}, ${range(random)})`,
  // Without `@`: in range queries 2.42 drops the samples of a pinned window one step after the other.
  (random) =>
    `predict_linear(${range(random)}, ${pick(random, ['60', '3600', '-30'])})`.replace(
      / @ [^)\],]+(?:\(\))?/,
      '',
    ),
  (random) => `double_exponential_smoothing(${range(random)}, 0.4, 0.3)`,
  (random) =>
    `${pick(random, ['min', 'max', 'sum', 'count', 'last'])}_over_time(${range(random, ['odd_values'])})`,
  // One level of subqueries only: the steps of an outer one would be on the edges of the inner one's windows.
  (random) =>
    `${pick(random, ['max', 'avg', 'sum', 'count', 'stddev'])}_over_time(${pick(random, [
      'rate(requests_total[2m])',
      'memory_bytes',
      'sum by (job) (temperature)',
      'requests_total - errors_total',
    ])}[${pick(random, RANGES)}:${pick(random, ['20s', '1m', ''])}]${modifiers(random)})`,
];

const VECTOR_CALLS: readonly Maker[] = [
  (random, depth) =>
    `${pick(random, ['abs', 'sqrt', 'ln', 'log2', 'log10', 'exp'])}(${vector(random, depth)} / 100)`,
  (random, depth) =>
    `${pick(random, ['sin', 'cos', 'atan', 'tanh', 'asinh', 'deg', 'rad'])}(${vector(random, depth)})`,
  (random) => `${pick(random, ['ceil', 'floor', 'sgn', 'sort', 'sort_desc'])}(${exact(random)})`,
  (random) => `round(${exact(random)}, ${pick(random, ['1', '0.5', '16'])})`,
  (random, depth) => `clamp(${vector(random, depth)}, -100, ${pick(random, ['50', '1e6', '-200'])})`,
  (random, depth) => `clamp_${pick(random, ['min', 'max'])}(${vector(random, depth)}, 42)`,
  (random, depth) => `label_replace(${vector(random, depth)}, "host", "h$1", "instance", "host-(.*)")`,
  (random, depth) => `label_join(${vector(random, depth)}, "both", "/", "job", "instance")`,
  (random) => `timestamp(${instant(random)})`,
  (random) => `${pick(random, ['hour', 'minute', 'day_of_week', 'month'])}(timestamp(${instant(random)}))`,
  (random) => `absent(${selector(random)}{zone="none"})`.replace('}{', ', '),
  (random) => `absent_over_time(nothing{job="${pick(random, ['a', 'b'])}"}[5m])`,
  (random) => `vector(scalar(sum(${instant(random)})) + time())`,
  (random) =>
    `histogram_quantile(${pick(random, ['0', '0.5', '0.9', '0.99', '1'])}, ${pick(random, [
      'latency_seconds_bucket',
      'rate(latency_seconds_bucket[5m])',
      'sum by (le, job) (rate(latency_seconds_bucket[2m]))',
    ])})`,
  (random, depth) => `-(${vector(random, depth)})`,
];

const AGGREGATIONS: readonly Maker[] = [
  (random, depth) =>
    `${pick(random, ['sum', 'avg', 'min', 'max', 'count', 'group'])}${grouping(random)}(${vector(random, depth)})`,
  (random) => `${pick(random, ['stddev', 'stdvar'])}${grouping(random)}(${instant(random)})`,
  (random) => `quantile${grouping(random)}(${pick(random, ['0.1', '0.5', '0.9', '1'])}, ${instant(random)})`,
  (random) => `${pick(random, ['topk', 'bottomk'])}${grouping(random)}(2, requests_total)`,
  (random) => `count_values${grouping(random)}("value", changes(temperature[${pick(random, RANGES)}]))`,
];

const BINARIES: readonly Maker[] = [
  (random, depth) => `${vector(random, depth)} ${pick(random, ['+', '*', '/'])} ${number(random)}`,
  (random, depth) => `${number(random)} ${pick(random, ['-', '/', '*'])} ${vector(random, depth)}`,
  (random) => `${exact(random)} ${comparison(random)} ${number(random)}`,
  (random) => `requests_total ${pick(random, ['+', '-', '*', '/', '%', '^ -'])} errors_total`,
  // Negated: 2.42 keeps the name of an atan2.
  () => '-(requests_total atan2 errors_total)',
  (random) => `requests_total ${comparison(random)} on (job, instance) ${selector(random, ['errors_total'])}`,
  (random) => `temperature ${pick(random, ['and', 'or', 'unless'])} on (instance) ${selector(random)}`,
  (random) =>
    `${instant(random)} ${pick(random, ['and', 'or', 'unless'])} ignoring (zone) ${instant(random)}`,
  (random) => `${selector(random)} * on (job) group_left (owner) job_info`,
  (random) => `job_info * on (job) group_right (owner) ${selector(random)}`,
  (random) =>
    `${selector(random)} / ignoring (instance, zone) group_left () sum by (job) (${instant(random)})`,
  (random) => `${selector(random, ['memory_bytes'])} - on (zone) temperature`,
];

function comparison(random: Random): string {
  return pick(random, ['>', '<', '>=', '<=', '==', '!=']) + (random() < 0.4 ? ' bool' : '');
}

function number(random: Random): string {
  return pick(random, ['2', '100', '0.5', '1e6', '-7', '0', 'Inf', 'NaN']);
}

function vector(random: Random, depth: number): string {
  if (depth === 0) return instant(random);
  const kind = random();
  if (kind < 0.35) return pick(random, RANGE_CALLS)(random, depth - 1);
  if (kind < 0.55) return pick(random, VECTOR_CALLS)(random, depth - 1);
  if (kind < 0.8) return pick(random, AGGREGATIONS)(random, depth - 1);
  if (kind < 0.97) return `(${pick(random, BINARIES)(random, depth - 1)})`;
  return instant(random);
}
