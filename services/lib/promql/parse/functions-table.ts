// Signatures of every function of Prometheus 3.14. The engine has an implementation for each name in this table.
import type { ValueType } from '../ast.ts';

export interface FunctionSignature {
  readonly name: string;
  /** Types of the arguments; the last one repeats in variadic functions. */
  readonly argTypes: readonly ValueType[];
  /**
   * 0: all arguments are required. n > 0: the last type stands for 0 … n arguments. -1: for any number.
   */
  readonly variadic: number;
  readonly returnType: ValueType;
  /** Needs `--enable-feature=promql-experimental-functions`. */
  readonly experimental: boolean;
}

const TYPES: Readonly<Record<string, ValueType>> = { v: 'vector', m: 'matrix', s: 'scalar', t: 'string' };

/**
 * One line of the table: `v,s` are argument types (v vector, m matrix, s scalar, t string), `?` behind the last one
 * makes it optional, `?n` allows it up to n times, `*` any number of times.
 */
function rows(args: string, returns: string, names: string, experimental = false): FunctionSignature[] {
  const variadicAt = args.search(/[?*]/);
  const types = (variadicAt < 0 ? args : args.slice(0, variadicAt)).split(',').filter((type) => type !== '');
  const tail = variadicAt < 0 ? '' : args.slice(variadicAt);
  const variadic = tail === '' ? 0 : tail === '*' ? -1 : Number(tail.slice(1) || 1);
  return names.split(' ').map((name) => ({
    name,
    argTypes: types.map((type) => TYPES[type]!),
    variadic,
    returnType: TYPES[returns]!,
    experimental,
  }));
}

const ALL: readonly FunctionSignature[] = [
  ...rows('v', 'v', 'abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor'),
  ...rows('v', 'v', 'histogram_avg histogram_count histogram_sum histogram_stddev histogram_stdvar'),
  ...rows('v', 'v', 'ln log10 log2 rad sgn sin sinh sort sort_desc sqrt start_timestamp tan tanh timestamp'),
  ...rows('v?', 'v', 'days_in_month day_of_month day_of_week day_of_year hour minute month year'),
  ...rows('m', 'v', 'absent_over_time avg_over_time changes count_over_time delta deriv first_over_time'),
  ...rows('m', 'v', 'idelta increase irate last_over_time max_over_time min_over_time present_over_time'),
  ...rows('m', 'v', 'rate resets stddev_over_time stdvar_over_time sum_over_time'),
  ...rows('m', 'v', 'mad_over_time ts_of_first_over_time ts_of_last_over_time', true),
  ...rows('m', 'v', 'ts_of_max_over_time ts_of_min_over_time', true),
  ...rows('m,s', 'v', 'predict_linear'),
  ...rows('m,s,s', 'v', 'double_exponential_smoothing', true),
  ...rows('s,m', 'v', 'quantile_over_time'),
  ...rows('v,s,s', 'v', 'clamp'),
  ...rows('v,s', 'v', 'clamp_max clamp_min'),
  ...rows('v,s?', 'v', 'round'),
  ...rows('s,s,v', 'v', 'histogram_fraction'),
  ...rows('s,v', 'v', 'histogram_quantile'),
  ...rows('v,t,s,s?9', 'v', 'histogram_quantiles', true),
  ...rows('v,v?', 'v', 'info', true),
  ...rows('v,t,t,t,t', 'v', 'label_replace'),
  ...rows('v,t,t,t*', 'v', 'label_join'),
  ...rows('v,t*', 'v', 'sort_by_label sort_by_label_desc', true),
  ...rows('v', 's', 'scalar'),
  ...rows('s', 'v', 'vector'),
  ...rows('', 's', 'pi time'),
  ...rows('', 's', 'end range start step', true),
  ...rows('s,s', 's', 'max_of min_of', true),
];

/** By name. A Map: names such as `constructor` come from users. */
export const FUNCTIONS: ReadonlyMap<string, FunctionSignature> = new Map(ALL.map((fn) => [fn.name, fn]));
