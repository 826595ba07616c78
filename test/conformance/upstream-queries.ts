// Generated queries for the comparison with Prometheus 3.14: every function and operator, over floats and native
// histograms. Kept out by rule, each where it would come up: what Prometheus answers in no particular order, and a fault of
// 3.14 that 3.15 does not have.
import type { ValueType } from '../../services/lib/promql/ast.ts';
import { FUNCTIONS } from '../../services/lib/promql/parse/functions-table.ts';
import { pick, type Random } from '../support/random.ts';
import { FIRST_MS } from './upstream-series.ts';

const FLOATS = ['requests_total', 'errors_total', 'memory_bytes', 'odd', 'rare', 'single', 'classic_bucket'];
const HISTOGRAMS = ['latency', 'latency_gauge', 'custom', 'mixed', 'whole'];
const MATCHERS = [
  'job="api"',
  'job!="db"',
  'instance=~"host-[01]"',
  'instance!~"host-2|x"',
  'zone=""',
  'job=~".+"',
  'le=~"0.*"',
];
// Floats and histograms never have the same labels but the name: 3.14 drops one of the two, or fails.
const NAMES = ['requests_total|errors_total', 'lat.*', 'mem.*|single', 'custom|whole'];
const DURATIONS = ['30s', '1m', '90s', '2m', '5m', '10m', '31s', '4m30s'];
const ODD_DURATIONS = [
  '1m + 30s',
  'step() * 2',
  'max_of(step(), 2m)',
  'min_of(5m, range())',
  '2 * 1m',
  '150',
];
const SCALARS =
  '0 1 2 0.5 -1 100 1e6 NaN Inf -Inf 0.95 1.5 60 pi() time() step() scalar(single) min_of(2,3)'.split(' ');
const STRINGS = '"job" "instance" "new" "zone" "$1-x" "host-(.*)" "(.*)" "" "/" "le" "q" "__name__"'.split(
  ' ',
);
const LABEL_LISTS = ['job', 'instance', 'zone', 'le', 'job, instance', '', 'nothing', 'version'];
const DATES = 'days_in_month day_of_month day_of_week day_of_year hour minute month year'.split(' ');
/** Made below in a way that suits them; start times are not part of the data. */
const OWN_FORM = new Set([
  ...DATES,
  ...'vector label_replace label_join sort_by_label sort_by_label_desc info'.split(' '),
  ...'histogram_quantiles start_timestamp'.split(' '),
]);
const CALLS = [...FUNCTIONS.values()].filter(
  ({ name, returnType }) => returnType === 'vector' && !OWN_FORM.has(name),
);
const PERIODIC = new Set(['sin', 'cos', 'tan']);
const GROWING = /sinh|cosh|exp|\^/;
/** Scalars that differ from step to step, or that 3.14 takes for such. */
const VARYING_SCALAR = /^(?:time|step|scalar)\(/;
const PINNED_SUBQUERY = /(:[^\]]*\]) @ \S+(?: offset 1m)?$/;
/** Seconds since 1970 as values. */
const TIMES = /\btime(?:stamp)?\(|\bts_of_/;
/** Histograms of both kinds, as the result of something. */
const MIXED_RESULT = /[^{]\{__name__=~"custom\|whole"/;
/** Of less than no observations the quantile is the bound of the last bucket, empty or not: chunks of gauges have those of others. */
const NEGATED_GAUGES = /-\(.*lat(?:ency_gauge|\.\*)/;
const AGGREGATIONS = ['sum', 'avg', 'min', 'max', 'count', 'group', 'stddev', 'stdvar'];
const SETS = ['and', 'or', 'unless'];
const COMPARISONS = ['==', '!=', '>', '<', '>=', '<='];
const OPERATORS = ['+', '-', '*', '/', '%', '^', 'atan2', '</', '>/', ...COMPARISONS, ...SETS];

/** A query of up to three levels. */
export function generateUpstreamQuery(random: Random): string {
  return new Generator(random).vector(1 + Math.floor(random() * 3));
}

class Generator {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  #pick<T>(list: readonly T[]): T {
    return pick(this.#random, list);
  }

  #chance(share: number): boolean {
    return this.#random() < share;
  }

  vector(depth: number): string {
    if (depth <= 0 || this.#chance(0.2)) return this.#instant();
    if (this.#chance(0.5)) return this.#call(depth - 1);
    if (this.#chance(0.5)) return this.#aggregation(depth - 1);
    if (this.#chance(0.85)) return `(${this.#binary(depth - 1)})`;
    return `-(${this.vector(depth - 1)})`;
  }

  #selector(): string {
    if (this.#chance(0.05)) return `{__name__=~"${this.#pick(NAMES)}"}`;
    const metric = this.#pick(this.#chance(0.5) ? FLOATS : HISTOGRAMS);
    return this.#chance(0.25) ? `${metric}{${this.#pick(MATCHERS)}}` : metric;
  }

  #modifiers(): string {
    if (this.#chance(0.1)) return ` offset ${this.#pick(['1m', '-90s', '30s', '10m', '-(1m)', 'step()'])}`;
    if (this.#chance(0.07)) {
      const seconds = FIRST_MS / 1000;
      return ` @ ${this.#pick(['start()', 'end()', `${seconds + 1800}`, `${seconds + 1815.5}`])}`;
    }
    return this.#chance(0.04) ? ' @ end() offset 1m' : '';
  }

  #extension(share: number): string {
    return this.#chance(share) ? this.#pick([' smoothed', ' anchored']) : '';
  }

  #instant(): string {
    return this.#selector() + this.#extension(0.06) + this.#modifiers();
  }

  #range(depth: number): string {
    const length = this.#pick(this.#chance(0.9) ? DURATIONS : ODD_DURATIONS);
    if (depth > 0 && this.#chance(0.2)) {
      const step = this.#pick(['', '30s', '1m', '45s', 'step()']);
      const inner = this.vector(depth - 1);
      const modifiers = this.#modifiers();
      // What @ pins below an offset 3.14 moves by it, when the subquery's first step is the query's start.
      const isMoved = inner.includes(' @ ') && modifiers.includes(' offset ');
      return `(${inner})[${length}:${step}]${isMoved ? '' : modifiers}`;
    }
    return `${this.#selector()}[${length}]${this.#extension(0.12)}${this.#modifiers()}`;
  }

  #call(depth: number): string {
    const string = (): string => this.#pick(STRINGS);
    const kind = this.#random();
    if (kind < 0.04)
      return `label_replace(${this.vector(depth)}, ${string()}, ${string()}, ${string()}, ${string()})`;
    if (kind < 0.06) return `label_join(${this.vector(depth)}, ${string()}, "-", ${string()}, ${string()})`;
    if (kind < 0.08)
      return `sort_by_label${this.#pick(['', '_desc'])}(${this.vector(depth)}, "instance", "job")`;
    // What info() does with offset and @ has changed since 3.14.0: plain selectors only.
    if (kind < 0.12)
      return `info(${this.#pick(FLOATS)}${this.#pick(['', ', {version=~".*"}', ', {env="prod"}', ', {__name__="target_info", version=~"v[12]"}', ', {__name__=~".+_info"}'])})`;
    if (kind < 0.14)
      return `histogram_quantiles(${this.vector(depth)}, "q", ${this.#scalar()}, ${this.#scalar()})`;
    if (kind < 0.16) return `vector(${this.#scalar()})`;
    if (kind < 0.18) return `${this.#pick(DATES)}(${this.vector(depth)})`;
    if (kind < 0.28) {
      const phi = this.#scalar();
      const histograms = this.#histograms(depth);
      return `histogram_quantile(${phi}, ${NEGATED_GAUGES.test(histograms) ? 'latency_gauge' : histograms})`;
    }
    const { name, argTypes, variadic } = this.#pick(CALLS);
    const count = variadic !== 0 && this.#chance(0.5) ? argTypes.length - 1 : argTypes.length;
    const args = argTypes.slice(0, count).map((type) => {
      if (type === 'vector') return this.vector(depth);
      if (type === 'matrix') return this.#range(depth);
      return type === 'scalar' ? this.#scalar() : string();
    });
    // Angles of 1e300, of which no digit that the libraries agree on is left.
    if (PERIODIC.has(name) && GROWING.test(args[0]!)) args[0] = this.#instant();
    return `${name}(${withoutPins(name, argTypes, args).join(', ')})`;
  }

  #histograms(depth: number): string {
    return this.#pick([
      'classic_bucket',
      'rate(classic_bucket[5m])',
      'sum by (le) (rate(classic_bucket[2m]))',
      'latency',
      'rate(latency[5m])',
      'sum(rate(custom[3m]))',
      'sum by (job) (latency_gauge)',
      'mixed',
      this.vector(depth),
    ]);
  }

  #scalar(): string {
    return this.#pick(SCALARS);
  }

  #grouping(): string {
    if (this.#chance(0.25)) return '';
    return ` ${this.#pick(['by', 'without'])} (${this.#pick(LABEL_LISTS)}) `;
  }

  #aggregation(depth: number): string {
    const kind = this.#random();
    const grouping = this.#grouping();
    if (kind < 0.6) {
      const operator = this.#pick(AGGREGATIONS);
      const values = this.vector(depth);
      return `${isUnsettled(operator, values) ? 'max' : operator}${grouping}(${values})`;
    }
    // Which of equals is taken depends on the order of series, and that of a function's result on a hash table.
    const operand = this.#selector() + this.#modifiers();
    if (kind < 0.75) {
      const k = this.#pick(['1', '2', '3', '0', '-1', '1.9', 'scalar(single) % 3']);
      return `${this.#pick(['topk', 'bottomk', 'limitk'])}${grouping}(${k}, ${operand})`;
    }
    if (kind < 0.85) return `quantile${grouping}(${this.#scalar()}, ${this.vector(depth)})`;
    // Of samples as they are: the last digit of what is computed would become a label.
    if (kind < 0.93) return `count_values${grouping}("value", ${operand})`;
    return `limit_ratio${grouping}(${this.#pick(['0.5', '-0.5', '1', '0', '-0.3', '1.5'])}, ${operand})`;
  }

  #binary(depth: number): string {
    const operator = this.#pick(OPERATORS);
    const isSet = SETS.includes(operator);
    const bool = COMPARISONS.includes(operator) && this.#chance(0.4) ? ' bool' : '';
    if (this.#chance(0.2)) return `${this.vector(depth)} ${operator}${bool} ${this.#scalar()}`;
    if (this.#chance(0.1)) return `${this.#scalar()} ${operator}${bool} ${this.vector(depth)}`;
    const on = this.#chance(0.3) ? '' : ` ${this.#pick(['on', 'ignoring'])} (${this.#pick(LABEL_LISTS)})`;
    const group =
      on === '' || isSet || this.#chance(0.7)
        ? ''
        : this.#pick([' group_left', ' group_right', ' group_left (owner)', ' group_right (version)']);
    const fill =
      isSet || this.#chance(0.85)
        ? ''
        : this.#pick([' fill (0)', ' fill_left (1)', ' fill_right (2)', ' fill_left (1) fill_right (5)']);
    const left = this.vector(depth);
    // The same again now and then: it is evaluated once.
    const right = this.#chance(0.15) ? left : this.#chance(0.1) ? 'job_info' : this.vector(depth);
    return `${left} ${operator}${bool}${on}${group}${fill} ${right}`;
  }
}

/**
 * 3.14 has no result for a subquery at a fixed time where the call depends on the step all the same: prometheus/prometheus
 * issue 18610, mended in 3.15. The unit tests of the engine ask for what 3.15 answers.
 */
function withoutPins(
  name: string,
  argTypes: readonly ValueType[],
  args: readonly string[],
): readonly string[] {
  const dependsOnStep =
    name === 'predict_linear' || args.some((arg, i) => argTypes[i] === 'scalar' && VARYING_SCALAR.test(arg));
  if (!dependsOnStep) return args;
  return args.map((arg, i) => (argTypes[i] === 'matrix' ? arg.replace(PINNED_SUBQUERY, '$1') : arg));
}

/**
 * 3.14 adds up a result in the order of a hash table. Of times nearly all digits cancel out in the squares of the deviations:
 * asked sixty times for one stddev(timestamp(…)) it has seven answers, which differ in the ninth digit. And which of two
 * histograms that do not go together comes first decides what is said of them.
 */
function isUnsettled(operator: string, values: string): boolean {
  if (operator === 'sum' || operator === 'avg') return MIXED_RESULT.test(values);
  return operator.startsWith('std') && TIMES.test(values);
}
