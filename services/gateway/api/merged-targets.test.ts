import { expect, test } from 'vitest';
import type { ActiveTarget, TargetsResponse } from '../../lib/wire/contracts.ts';
import { mergeTargets } from './merged-targets.ts';

const active = (instance: string, lastScrapeMs: number): ActiveTarget => ({
  discoveredLabels: { __address__: instance },
  labels: { job: 'a', instance },
  scrapePool: 'a',
  scrapeUrl: `http://${instance}/metrics`,
  globalUrl: `http://${instance}/metrics`,
  lastError: '',
  lastScrapeMs,
  lastScrapeDurationSeconds: 0,
  health: lastScrapeMs === 0 ? 'unknown' : 'up',
  scrapeInterval: '15s',
  scrapeTimeout: '10s',
  lastSamplesScraped: 1,
});

const answer = (changes: Partial<TargetsResponse>): TargetsResponse => ({
  active: [],
  dropped: [{ scrapePool: 'a', discoveredLabels: { __address__: 'x', other: '1' } }],
  droppedCounts: { a: 3 },
  discoveryProblems: [{ scrapePool: 'a', problem: 'forbidden' }],
  ...changes,
});

test('three scrapers: each has its own active targets, all find the same dropped ones', () => {
  const merged = mergeTargets([
    answer({ active: [active('one', 5)] }),
    answer({
      active: [active('two', 5)],
      dropped: [{ scrapePool: 'a', discoveredLabels: { other: '1', __address__: 'x' } }],
    }),
    answer({ droppedCounts: { a: 3, b: 0 } }),
  ]);
  expect(merged.active.map(({ labels }) => labels.instance)).toEqual(['one', 'two']);
  expect(merged.dropped).toHaveLength(1);
  expect({ ...merged.droppedCounts }).toEqual({ a: 3, b: 0 });
  expect(merged.problems).toEqual([{ scrapePool: 'a', problem: 'forbidden' }]);
});

test('a target that moves stands there once, as the one says that scraped it last', () => {
  const [target, ...rest] = mergeTargets([
    answer({ active: [active('one', 0)] }),
    answer({ active: [active('one', 7)] }),
    answer({ active: [active('one', 5)] }),
  ]).active;
  expect([target!.lastScrapeMs, rest]).toEqual([7, []]);
});
