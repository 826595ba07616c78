import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import type { Clock } from '../lib/core/clock.ts';
import { Labels } from '../lib/model/labels.ts';
import { DEFAULT_FEATURES } from '../lib/promql/features.ts';
import type { AlertInstance } from '../lib/rules/alerting-state.ts';
import { parseRuleFile } from '../lib/rules/rule-file.ts';
import { RuleGroup, type RuleIo, type RuleSettings } from '../lib/rules/rule-group.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { createEvaluatorMetrics } from './evaluator-metrics.ts';
import { GroupRunner } from './group-runner.ts';

const MINUTE = 60_000;
const NOW_MS = 1_700_000_000_000;
const SETTINGS: RuleSettings = {
  externalLabels: Labels.empty,
  externalUrl: 'http://x',
  resendDelayMs: 1_000,
  outageToleranceMs: 60 * MINUTE,
  gracePeriodMs: 10 * MINUTE,
};

/** Takes a group over whose alert is on until `endMs`, and resolves to what is told before the first slot at its time. */
async function takeOver(endMs: number): Promise<readonly AlertInstance[][]> {
  const text =
    'groups:\n  - name: g\n    interval: 1m\n    rules:\n      - { alert: A, expr: up == 0, for: 1s }\n';
  const [spec] = parseRuleFile(text, { file: 'r.yml', features: DEFAULT_FEATURES, nameValidation: 'utf8' });
  const handOverMs = 5 * MINUTE;
  const group = new RuleGroup({
    spec: spec!,
    intervalMs: MINUTE,
    queryOffsetMs: 0,
    restored: false,
    handOverMs,
  });
  const told: AlertInstance[][] = [];
  const io: RuleIo = {
    query: async (query, timeMs) => {
      const isOn = timeMs < endMs;
      const values = query.startsWith('timestamp(') ? timeMs / 1000 : (NOW_MS - 20 * MINUTE) / 1000;
      return isOn
        ? { labels: [Labels.from([['alertname', 'A']])], values: Float64Array.of(values) }
        : { labels: [], values: new Float64Array(0) };
    },
    write: async () => undefined,
    notify: (_rule, alerts) => void told.push([...alerts]),
    nowMs: () => NOW_MS,
    monotonicMs: () => 0,
    evaluated: () => undefined,
    templateFailed: () => undefined,
    restoreFailed: (_rule, error) => {
      throw error;
    },
  };
  const slept = Promise.withResolvers<void>();
  const clock: Clock = {
    nowMs: () => NOW_MS,
    monotonicMs: () => 0,
    sleep: (_ms, signal) => {
      slept.resolve();
      return new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason));
      });
    },
  };
  const metrics = createEvaluatorMetrics(new Registry());
  const deps = { clock, logger: createSilentLogger(), metrics, settings: () => SETTINGS, createIo: () => io };
  const runner = new GroupRunner(group, deps, 'taken-over', NOW_MS - handOverMs);
  runner.start();
  await slept.promise;
  await runner.stop();
  return told;
}

test('of an alert that is on at slots that are made up for it is told once that it fires', async () => {
  expect(await takeOver(NOW_MS + MINUTE)).toMatchObject([[{ state: 'firing', resolvedAtMs: 0 }]]);
});

test('of one that ended among them it is told that it is over, and not again that it was firing', async () => {
  const told = await takeOver(NOW_MS - 2 * MINUTE);
  expect(told).toMatchObject([[{ state: 'inactive' }]]);
  expect(told[0]![0]!.resolvedAtMs).toBeGreaterThanOrEqual(NOW_MS - 2 * MINUTE);
});
