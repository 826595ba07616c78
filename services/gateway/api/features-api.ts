// /api/v1/features: what this server can do and what is turned on, under Prometheus' names, for clients that choose by it.
// Only what is really here is true; a name that is missing means the same as false.
import type { PromqlFeatures } from '../../lib/promql/features.ts';
import { FUNCTIONS } from '../../lib/promql/parse/functions-table.ts';
import { apiRoute, type Route } from '../http/route.ts';
import type { GatewayOptions } from '../options.ts';

type FeatureOptions = Pick<GatewayOptions, 'features' | 'adminApiEnabled' | 'lifecycleEnabled'>;

const OPERATORS = [
  ...['!=', '!~', '%', '*', '+', '-', '/', '<', '<=', '==', '=~', '>', '>=', '@', '^'],
  ...['and', 'atan2', 'avg', 'bottomk', 'count', 'count_values', 'group', 'max', 'min', 'or', 'quantile'],
  ...['stddev', 'stdvar', 'sum', 'topk', 'unless'],
];
const EXPERIMENTAL_OPERATORS = ['limitk', 'limit_ratio'];

export function featuresRoutes(options: FeatureOptions): Route[] {
  const data = describeFeatures(options);
  return [apiRoute(['GET'], '/api/v1/features', () => ({ data }))];
}

/** Categories of features; sorted as Go writes maps. */
export function describeFeatures(options: FeatureOptions): Record<string, Record<string, boolean>> {
  const { features, adminApiEnabled, lifecycleEnabled } = options;
  const functions = [...FUNCTIONS.values()].map(({ name, experimental }): [string, boolean] => [
    name,
    !experimental || features.experimentalFunctions,
  ]);
  return {
    api: sorted([
      ['admin', adminApiEnabled],
      ['exclude_alerts', true],
      ['label_values_match', true],
      ['lifecycle', lifecycleEnabled],
      ['query_stats', true],
      ['query_warnings', true],
      ['remote_write_receiver', true],
      ['time_range_labels', true],
      ['time_range_series', true],
    ]),
    prometheus: { agent_mode: false, auto_reload_config: false, server_mode: true },
    promql: describePromql(features),
    promql_functions: sorted(functions),
    promql_operators: sorted([
      ...OPERATORS.map((name): [string, boolean] => [name, true]),
      ...EXPERIMENTAL_OPERATORS.map((name): [string, boolean] => [name, features.experimentalFunctions]),
    ]),
    rules: { keep_firing_for: true, query_offset: true },
    scrape: {
      extra_scrape_metrics: true,
      start_timestamp_zero_ingestion: false,
      type_and_unit_labels: false,
    },
    // Kept with the samples and not in memory of their own: nothing has to be turned on.
    tsdb: { exemplar_storage: true, native_histograms: true },
  };
}

function describePromql(features: PromqlFeatures): Record<string, boolean> {
  const always = [
    ...[
      'at_modifier',
      'bool',
      'by',
      'group_left',
      'group_right',
      'ignoring',
      'negative_offset',
      'offset',
      'on',
    ],
    ...['per_query_lookback_delta', 'subqueries', 'without'],
  ];
  return sorted([
    ...always.map((name): [string, boolean] => [name, true]),
    ['anchored', features.extendedRangeSelectors],
    ['smoothed', features.extendedRangeSelectors],
    ['delayed_name_removal', features.delayedNameRemoval],
    ['duration_expr', features.durationExpressions],
    ['fill', features.binopFillModifiers],
    ['fill_left', features.binopFillModifiers],
    ['fill_right', features.binopFillModifiers],
    ['per_step_stats', features.perStepStats],
    ['type_and_unit_labels', false],
  ]);
}

function sorted(entries: readonly (readonly [string, boolean])[]): Record<string, boolean> {
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
