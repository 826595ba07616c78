// Queries that are nearly right: seeds of every construct, cut, joined, nested and garbled at random, by a seed.

import { pick, type Random } from '../support/random.ts';

const SEEDS: readonly string[] = [
  'requests_total',
  '{__name__=~"requests.*", job!="job-1"}',
  '{"requests_total", job="job-0"}',
  'rate(requests_total[5m])',
  'sum by (job) (rate(requests_total{job=~"job-.+"}[1m]))',
  'histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))',
  'histogram_quantile(0.5, latency_seconds)',
  'histogram_fraction(0, 0.2, rate(latency_seconds[5m]))',
  'histogram_count(sum(latency_seconds)) / histogram_sum(latency_seconds)',
  'latency_seconds * 2 + latency_seconds',
  'memory_bytes / on (instance) group_left (job) requests_total',
  'memory_bytes + ignoring (job) requests_total',
  'memory_bytes and requests_total or memory_bytes unless on () vector(1)',
  'requests_total > bool 5 == 1',
  'topk(3, requests_total) - bottomk(1, memory_bytes)',
  'quantile without (instance) (0.5, memory_bytes)',
  'count_values("value", requests_total)',
  'limitk(2, requests_total) or limit_ratio(-0.5, requests_total)',
  'label_replace(requests_total, "new", "$1-x", "job", "job-(.*)")',
  'label_join(requests_total, "new", "-", "job", "instance")',
  'max_over_time(rate(requests_total[1m])[5m:30s])',
  'sum_over_time(mixed[5m]) + avg_over_time(mixed[3m])',
  'requests_total offset 1m @ end()',
  'requests_total @ 1700000000.5 offset -30s',
  'increase(requests_total[2m] anchored) + rate(requests_total[1m] smoothed)',
  'memory_bytes smoothed',
  'predict_linear(memory_bytes[5m], 3600) > 0',
  'quantile_over_time(0.3, memory_bytes[5m])',
  'double_exponential_smoothing(memory_bytes[5m], 0.5, 0.1)',
  'absent(nothing{job="x"}) or absent_over_time(nothing[5m])',
  'clamp(memory_bytes, 0, 5) ^ 2 % 3 atan2 1',
  'sort_by_label(requests_total, "instance")',
  'scalar(memory_bytes{instance="host-0"}) + time() * pi()',
  'day_of_week(vector(1700000000)) + hour()',
  'info(requests_total)',
  'changes(mixed[5m]) + resets(mixed[5m]) + mad_over_time(memory_bytes[2m])',
  'rate(requests_total[1m + 30s * 2]) + sum_over_time(memory_bytes[max(step(), 1m)])',
  'memory_bytes + fill(0) requests_total',
  '-(requests_total ^ -1) # comment',
  'round(memory_bytes, 0.5) + -1.5e3 + 0x1F + Inf + NaN + 5m',
  'stddev_over_time(memory_bytes[5m]) * stdvar(memory_bytes) + group(memory_bytes)',
  'histogram_quantiles(latency_seconds, "q", 0.1, 0.9)',
  'latency_seconds </ 2',
  '"string\\n\\u00e9\\x41"',
  'ts_of_max_over_time(memory_bytes[5m]) - timestamp(memory_bytes) - start_timestamp(memory_bytes)',
  'irate(mixed[5m]) + idelta(mixed[5m]) + delta(memory_bytes[5m]) + deriv(memory_bytes[5m])',
];

const PIECES: readonly string[] = [
  ...'( ) { } [ ] , : + - * / % ^ == != =~ !~ = < > <= >= @ # " \' ` \\ $ .. . 0 1 -1 1e308 1e-320 0x 5m 1y 1ms 99999y'.split(
    ' ',
  ),
  ...'by without on ignoring group_left group_right bool offset start() end() and or unless atan2 sum rate'.split(
    ' ',
  ),
  ...'NaN Inf -Inf smoothed anchored fill(1) [5m] [1y:1ms] [1w:1s] [5m:] offset_1d @_1e18 {job=~"("} {a=~"(a+)+$"}'.split(
    ' ',
  ),
  ...'9007199254740993 18446744073709551616 "" "\\xff" é \u0000 \u{1F600} -- ++ step() range() min(1,2) topk(1e9, vector(1'.split(
    ' ',
  ),
];

const TOKEN = /"(?:[^"\\]|\\.)*"|[A-Za-z_:][\w:]*|\d[\w.]*|\s+|[=!<>]=|[=!]~|./gsu;

/** A query some mutations away from a seed. */
export function mutate(random: Random): string {
  let query = pick(random, SEEDS);
  const rounds = 1 + Math.floor(random() * 3);
  for (let i = 0; i < rounds; i++) query = mutateOnce(random, query);
  return query;
}

function mutateOnce(random: Random, query: string): string {
  const tokens = query.match(TOKEN) ?? [''];
  const at = Math.floor(random() * tokens.length);
  switch (Math.floor(random() * 11)) {
    case 0:
      tokens.splice(at, 1);
      return tokens.join('');
    case 1:
      tokens.splice(at, 0, pick(random, PIECES).replaceAll('_', ' '));
      return tokens.join('');
    case 2:
      tokens[at] = pick(random, PIECES).replaceAll('_', ' ');
      return tokens.join('');
    case 3:
      tokens[at] = pick(random, pick(random, SEEDS).match(TOKEN) ?? ['']);
      return tokens.join('');
    case 4:
      return `${query} ${pick(random, ['+', '*', '> bool', 'and', 'or', 'unless', '/', '^'])} (${pick(random, SEEDS)})`;
    case 5:
      return `${pick(random, ['sum', 'avg', 'abs', 'rate', 'max by (job)', 'absent', 'scalar', 'sort', 'stddev', '-'])}(${query})`;
    case 6:
      return `max_over_time((${query})[${pick(random, ['5m', '1h', '10s', '1d', '1y', '0s'])}:${pick(random, ['', '1m', '1s', '1ms', '10m'])}])`;
    case 7:
      return query.slice(0, Math.floor(random() * query.length));
    case 8: {
      const code = Math.floor(random() * 0x180);
      const place = Math.floor(random() * query.length);
      return query.slice(0, place) + String.fromCodePoint(code) + query.slice(place + 1);
    }
    case 9:
      return nest(random, query);
    default:
      return tokens.map((token) => (/^\d/.test(token) ? pick(random, NUMBERS) : token)).join('');
  }
}

const NUMBERS: readonly string[] = [
  '0',
  '1',
  '2',
  '5m',
  '1h',
  '0.5',
  '1e300',
  '-1',
  '1e-300',
  '3',
  '30s',
  '100',
];

/** Deep trees. */
function nest(random: Random, query: string): string {
  const depth = Math.floor(10 ** (random() * 3.5));
  const [open, close] = pick(random, [
    ['(', ')'],
    ['-', ''],
    ['abs(', ')'],
    ['sum(', ')'],
    ['1+', ''],
    ['[', ']'],
    ['{', '}'],
  ] as const);
  // Not too many of these: a query of that size takes its time to be read alone.
  return random() < 0.9 ? `${open}${query}${close}` : open.repeat(depth) + query + close.repeat(depth);
}
