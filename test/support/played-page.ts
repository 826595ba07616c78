// Services as the page's test needs them: a querier that answers any expression with waves, targets in every state.

import { AppError } from '../../services/lib/core/errors.ts';
import type { Handlers } from '../../services/lib/transport/rpc.ts';
import {
  type ActiveTarget,
  type QuerierDefinition,
  type QueryRequest,
  ResultType,
} from '../../services/lib/wire/contracts.ts';
import { type PlayedSeries, type PlayedServices, playResult } from './gateway-rig.ts';

/** Markup that would run, were it ever parsed. */
export const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

/** `boom` fails, `none` is empty, all else is a few waves. */
export function playWaves(labels: readonly Readonly<Record<string, string>>[]): PlayedServices {
  const query: Handlers<typeof QuerierDefinition>['query'] = (request) => {
    if (request.query === 'boom') throw new AppError('bad_data', '1:5: parse error: unexpected end of input');
    const series = request.query === 'none' ? [] : labels.map((one, i) => wave(one, i, request));
    const type = request.stepMs === 0 ? ResultType.RESULT_TYPE_VECTOR : ResultType.RESULT_TYPE_MATRIX;
    return playResult(type, series);
  };
  return {
    querier: {
      query,
      labels: async () => ({
        values: ['node_cpu_seconds_total', 'node_memory_MemFree_bytes', 'process_cpu_seconds_total', 'up'],
        truncated: false,
        warnings: [],
      }),
    },
    scraper: {
      targets: async () => ({
        active: playedTargets(),
        dropped: [],
        droppedCounts: {},
        discoveryProblems: [],
      }),
    },
    alertEvaluator: {},
  };
}

function wave(labels: Readonly<Record<string, string>>, index: number, request: QueryRequest): PlayedSeries {
  const stepMs = request.stepMs === 0 ? 1 : request.stepMs;
  const samples: [number, number][] = [];
  for (let time = request.startMs; time <= request.endMs; time += stepMs) {
    const phase = time / 600_000 + index * 0.7;
    const value = 4 + index * 1.6 + Math.sin(phase) * (1 + index / 4) + Math.sin(phase * 7.3) * 0.35;
    const isGap = index === 1 && Math.sin(time / 1_300_000) > 0.9;
    if (!isGap || request.stepMs === 0) samples.push([time, value]);
  }
  return { labels, samples };
}

function playedTargets(): ActiveTarget[] {
  const target = (job: string, instance: string, changes: Partial<ActiveTarget>): ActiveTarget => ({
    discoveredLabels: { __address__: instance, job },
    labels: { instance, job },
    scrapePool: job,
    scrapeUrl: `http://${instance}/metrics`,
    globalUrl: `http://${instance}/metrics`,
    lastError: '',
    lastScrapeMs: Date.now() - 2300,
    lastScrapeDurationSeconds: 0.0137,
    health: 'up',
    scrapeInterval: '5s',
    scrapeTimeout: '5s',
    lastSamplesScraped: 1500,
    ...changes,
  });
  return [
    target('tidemark', 'localhost:9090', { lastScrapeDurationSeconds: 0.0042 }),
    target('node', 'node-1.example:9100', {}),
    target('node', 'node-2.example:9100', {
      health: 'down',
      lastError: `Get "http://node-2.example:9100/metrics": connection refused ${HOSTILE}`,
      lastScrapeDurationSeconds: 0.3,
    }),
    target('alertmanager', 'localhost:9093', {
      health: 'unknown',
      lastScrapeMs: 0,
      scrapeUrl: 'javascript:window.hacked=1',
    }),
  ];
}
