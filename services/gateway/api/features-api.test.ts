import { expect, test } from 'vitest';
import { ALL_FEATURES, DEFAULT_FEATURES } from '../../lib/promql/features.ts';
import { describeFeatures } from './features-api.ts';

test('what is turned on follows the flags', () => {
  const usual = describeFeatures({
    features: DEFAULT_FEATURES,
    adminApiEnabled: false,
    lifecycleEnabled: true,
  });
  expect(usual.api).toMatchObject({ admin: false, lifecycle: true, remote_write_receiver: true });
  expect(usual.promql).toMatchObject({ anchored: false, duration_expr: true, fill: false, subqueries: true });
  expect(usual.promql_functions).toMatchObject({ abs: true, rate: true, mad_over_time: false });
  expect(usual.promql_operators).toMatchObject({ limitk: false, sum: true, '=~': true });
  const all = describeFeatures({ features: ALL_FEATURES, adminApiEnabled: true, lifecycleEnabled: false });
  expect(all.api).toMatchObject({ admin: true, lifecycle: false });
  expect(all.promql).toMatchObject({
    anchored: true,
    smoothed: true,
    fill_left: true,
    delayed_name_removal: true,
  });
  expect(all.promql_functions).toMatchObject({ mad_over_time: true });
  expect(all.promql_operators).toMatchObject({ limitk: true, limit_ratio: true });
});
