import { afterEach, describe, expect, test } from 'vitest';
import { type GatewayRig, startGateway } from '../../../test/support/gateway-rig.ts';
import {
  type ActiveTarget,
  type TargetMetadataRequest,
  TargetState,
  type TargetsRequest,
} from '../../lib/wire/contracts.ts';

let rig: GatewayRig;
let asked: TargetsRequest[] = [];
afterEach(async () => {
  asked = [];
  await rig.close();
});

const target = (scrapePool: string, changes: Partial<ActiveTarget> = {}): ActiveTarget => ({
  discoveredLabels: { __address__: 'localhost:9100', job: scrapePool },
  labels: { job: scrapePool, instance: 'localhost:9100' },
  scrapePool,
  scrapeUrl: 'http://localhost:9100/metrics',
  globalUrl: 'http://host:9100/metrics',
  lastError: '',
  lastScrapeMs: 1_484_665_664_723.75,
  lastScrapeDurationSeconds: 0.050688943,
  health: 'up',
  scrapeInterval: '1m',
  scrapeTimeout: '10s',
  lastSamplesScraped: 5,
  ...changes,
});

async function get(path: string) {
  rig = await startGateway({
    scraper: {
      targets: async (request) => {
        asked.push(request);
        return {
          active: [target('node'), target('alerts', { health: 'unknown', lastScrapeMs: 0 })],
          dropped: [{ discoveredLabels: { __address__: 'x' }, scrapePool: 'node' }],
          droppedCounts: { node: 3 },
          discoveryProblems: [
            { scrapePool: 'node', problem: 'list of nodes: forbidden (403)' },
            { scrapePool: 'node', problem: 'list of nodes: forbidden (403)' },
          ],
        };
      },
    },
  });
  return JSON.parse(await (await fetch(`${rig.url}/api/v1/${path}`)).text());
}

test('targets as Prometheus describes them, by pool', async () => {
  const { data, warnings } = await get('targets');
  expect(warnings).toEqual(['service discovery of node: list of nodes: forbidden (403)']);
  expect(asked).toEqual([{ state: TargetState.TARGET_STATE_ANY, scrapePool: '' }]);
  expect(data.activeTargets.map(({ scrapePool }: ActiveTarget) => scrapePool)).toEqual(['alerts', 'node']);
  expect(data.activeTargets[0].lastScrape).toBe('0001-01-01T00:00:00Z');
  expect(data.activeTargets[1]).toEqual({
    discoveredLabels: { __address__: 'localhost:9100', job: 'node' },
    labels: { instance: 'localhost:9100', job: 'node' },
    scrapePool: 'node',
    scrapeUrl: 'http://localhost:9100/metrics',
    globalUrl: 'http://host:9100/metrics',
    lastError: '',
    lastScrape: '2017-01-17T15:07:44.72375Z',
    lastScrapeDuration: 0.050688943,
    health: 'up',
    scrapeInterval: '1m',
    scrapeTimeout: '10s',
  });
  expect(data.droppedTargets).toEqual([{ discoveredLabels: { __address__: 'x' }, scrapePool: 'node' }]);
  expect(data.droppedTargetCounts).toEqual({ node: 3 });
});

test.each([
  ['active', 2, 0, TargetState.TARGET_STATE_ACTIVE],
  ['dropped', 0, 1, TargetState.TARGET_STATE_DROPPED],
  ['ANY', 2, 1, TargetState.TARGET_STATE_ANY],
  ['other', 0, 0, TargetState.TARGET_STATE_UNSPECIFIED],
])('state=%s', async (state, active, dropped, askedState) => {
  const { data } = await get(`targets?state=${state}&scrapePool=node`);
  expect([data.activeTargets.length, data.droppedTargets.length]).toEqual([active, dropped]);
  expect(asked).toEqual([{ state: askedState, scrapePool: 'node' }]);
});

describe('metadata of targets', () => {
  const counter = { metric: 'a_total', type: 'counter', help: 'As.', unit: '' };
  const gauge = { metric: 'b', type: 'gauge', help: '', unit: 'bytes' };
  const answered: TargetMetadataRequest[] = [];

  async function metadata(query: string) {
    rig = await startGateway({
      scraper: {
        targetMetadata: async (request) => {
          answered.push(request);
          const targets = [
            { labels: { job: 'node', instance: 'x' }, families: [1, 0] },
            { labels: { job: 'node', instance: 'y' }, families: [0] },
          ];
          return { families: [counter, gauge], targets };
        },
      },
    });
    const path = `targets/metadata?${new URLSearchParams(query).toString()}`;
    return JSON.parse(await (await fetch(`${rig.url}/api/v1/${path}`)).text());
  }

  test('each metric of each target', async () => {
    const x = { instance: 'x', job: 'node' };
    expect(await metadata('')).toEqual({
      status: 'success',
      data: [
        { target: x, ...gauge },
        { target: x, ...counter },
        { target: { instance: 'y', job: 'node' }, ...counter },
      ],
    });
    expect(answered.at(-1)).toEqual({ matchers: [], metric: '', limit: 0 });
  });

  test('one metric is not named again; the limit holds over all scrapers', async () => {
    const { data } = await metadata('match_target={job="node"}&metric=b&limit=1');
    expect(data).toEqual([
      { target: { instance: 'x', job: 'node' }, type: 'gauge', help: '', unit: 'bytes' },
    ]);
    expect(answered.at(-1)).toMatchObject({
      matchers: [{ name: 'job', value: 'node' }],
      metric: 'b',
      limit: 1,
    });
  });

  test.each([
    ['limit=0', []],
    ['limit=x', 'limit must be a number'],
    [
      'match_target=x{',
      'invalid parameter "match_target": 1:3: parse error: unexpected end of input inside braces',
    ],
  ])('%s, as Prometheus answers', async (query, expected) => {
    const { data, error } = await metadata(query);
    expect(data ?? error).toEqual(expected);
  });
});

test('scrape pools', async () => {
  expect(await get('scrape_pools')).toEqual({ status: 'success', data: { scrapePools: ['alerts', 'node'] } });
});

test('service discovery by job: what was found, what became of it, what does not work', async () => {
  const { data } = await get('service-discovery?scrapePool=node');
  expect(asked).toEqual([{ state: TargetState.TARGET_STATE_ANY, scrapePool: 'node' }]);
  expect(data.scrapePools.map(({ scrapePool }: ActiveTarget) => scrapePool)).toEqual(['alerts', 'node']);
  expect(data.scrapePools[1]).toEqual({
    scrapePool: 'node',
    activeCount: 1,
    droppedCount: 3,
    discoveredCount: 4,
    targets: [
      {
        discoveredLabels: { __address__: 'localhost:9100', job: 'node' },
        labels: { instance: 'localhost:9100', job: 'node' },
        health: 'up',
      },
    ],
    droppedTargets: [{ discoveredLabels: { __address__: 'x' } }],
    problems: ['list of nodes: forbidden (403)'],
  });
});
