// Rules and alerts over HTTP. Bodies as in Prometheus' API documentation.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type GatewayRig, startGateway } from '../../../test/support/gateway-rig.ts';
import type { Alert, Rule, RuleGroup } from '../../lib/wire/contracts.ts';

const TIME_MS = 1_530_735_132_606;

const alert = (state: string, changes: Partial<Alert> = {}): Alert => ({
  labels: { severity: 'page', alertname: 'Slow' },
  annotations: { summary: 'High request latency' },
  state,
  activeAtMs: TIME_MS,
  keepFiringSinceMs: 0,
  value: 1,
  ...changes,
});

const rule = (name: string, changes: Partial<Rule> = {}): Rule => ({
  name,
  query: 'sum(x)',
  labels: {},
  health: 'ok',
  lastError: '',
  lastEvaluationMs: TIME_MS,
  evaluationSeconds: 0.001,
  alerting: undefined,
  ...changes,
});

const group = (file: string, name: string, rules: Rule[]): RuleGroup => ({
  name,
  file,
  intervalSeconds: 60,
  limit: 0,
  lastEvaluationMs: TIME_MS,
  evaluationSeconds: 0.002,
  rules,
});

const SLOW = rule('Slow', {
  labels: { severity: 'page' },
  health: 'err',
  lastError: 'boom',
  alerting: {
    forSeconds: 600,
    keepFiringForSeconds: 0,
    annotations: { summary: 'High request latency' },
    state: 'firing',
    alerts: [
      alert('firing'),
      alert('pending', { keepFiringSinceMs: TIME_MS, value: 1e-7 }),
      alert('inactive'),
    ],
  },
});

const GROUPS = [
  group('/a.yaml', 'one', [SLOW, rule('job:x:sum')]),
  group('/a.yaml', 'two', [rule('job:y:sum', { labels: { team: 'b' } })]),
  group('/b.yaml', 'one', [rule('job:z:sum')]),
];

let rig: GatewayRig;
beforeEach(async () => {
  rig = await startGateway({
    alertEvaluator: {
      ruleGroups: async () => ({ groups: GROUPS }),
      alertmanagers: async () => ({ active: ['http://a:9093/api/v2/alerts'], dropped: ['http://b'] }),
    },
  });
});
afterEach(() => rig.close());

async function get(path: string) {
  return JSON.parse(await (await fetch(`${rig.url}/api/v1/${path}`)).text());
}

/** Names of rules, by group. */
async function names(query: string): Promise<[string, string[]][]> {
  const { data } = await get(`rules?${query}`);
  return data.groups.map((one: RuleGroup) => [`${one.file} ${one.name}`, one.rules.map(({ name }) => name)]);
}

const ALL = [
  ['/a.yaml one', ['Slow', 'job:x:sum']],
  ['/a.yaml two', ['job:y:sum']],
  ['/b.yaml one', ['job:z:sum']],
];

test('groups and rules', async () => {
  const { data } = await get('rules');
  expect(data.groupNextToken).toBeUndefined();
  expect(data.groups[0]).toEqual({
    name: 'one',
    file: '/a.yaml',
    interval: 60,
    limit: 0,
    evaluationTime: 0.002,
    lastEvaluation: '2018-07-04T20:12:12.606Z',
    rules: [
      {
        state: 'firing',
        name: 'Slow',
        query: 'sum(x)',
        duration: 600,
        keepFiringFor: 0,
        labels: { severity: 'page' },
        annotations: { summary: 'High request latency' },
        alerts: [
          {
            labels: { alertname: 'Slow', severity: 'page' },
            annotations: { summary: 'High request latency' },
            state: 'firing',
            activeAt: '2018-07-04T20:12:12.606Z',
            value: '1e+00',
          },
          {
            labels: { alertname: 'Slow', severity: 'page' },
            annotations: { summary: 'High request latency' },
            state: 'pending',
            activeAt: '2018-07-04T20:12:12.606Z',
            keepFiringSince: '2018-07-04T20:12:12.606Z',
            value: '1e-07',
          },
        ],
        health: 'err',
        lastError: 'boom',
        evaluationTime: 0.001,
        lastEvaluation: '2018-07-04T20:12:12.606Z',
        type: 'alerting',
      },
      {
        name: 'job:x:sum',
        query: 'sum(x)',
        health: 'ok',
        evaluationTime: 0.001,
        lastEvaluation: '2018-07-04T20:12:12.606Z',
        type: 'recording',
      },
    ],
  });
});

describe('filters', () => {
  test.each([
    ['', ALL],
    ['type=alert', [['/a.yaml one', ['Slow']]]],
    [
      'type=Record&file[]=/a.yaml',
      [
        ['/a.yaml one', ['job:x:sum']],
        ['/a.yaml two', ['job:y:sum']],
      ],
    ],
    [
      'rule_name[]=Slow&rule_name[]=job:z:sum',
      [
        ['/a.yaml one', ['Slow']],
        ['/b.yaml one', ['job:z:sum']],
      ],
    ],
    ['rule_group[]=two', [['/a.yaml two', ['job:y:sum']]]],
    ['match[]={team="b"}', [['/a.yaml two', ['job:y:sum']]]],
    [
      'match[]={severity="page"}&match[]={team="b"}',
      [
        ['/a.yaml one', ['Slow']],
        ['/a.yaml two', ['job:y:sum']],
      ],
    ],
    ['rule_name[]=none', []],
  ])('%s', async (query, expected) => {
    expect(await names(query)).toEqual(expected);
  });

  test('exclude_alerts', async () => {
    const { data } = await get('rules?exclude_alerts=true&type=alert');
    expect(data.groups[0].rules[0].alerts).toEqual([]);
  });

  test.each([
    ['type=x', 'invalid parameter "type": not supported value "x"'],
    [
      'exclude_alerts=maybe',
      'invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "maybe": invalid syntax',
    ],
    ['group_limit=0', 'invalid parameter "group_limit": group_limit needs to be greater than 0'],
    [
      'group_next_token=abc',
      'invalid parameter "group_limit": group_limit needs to be present in order to paginate over the groups',
    ],
    [
      'group_limit=1&group_next_token=abc',
      `invalid parameter "group_next_token": invalid group_next_token 'abc'. were rule groups changed?`,
    ],
  ])('%s is refused', async (query, error) => {
    expect(await get(`rules?${query}`)).toEqual({ status: 'error', errorType: 'bad_data', error });
  });
});

test('pages cover every group once', async () => {
  const seen: string[] = [];
  let token = '';
  for (let i = 0; i < 5; i++) {
    const { data } = await get(`rules?group_limit=1&group_next_token=${token}`);
    expect(data.groups).toHaveLength(1);
    seen.push(`${data.groups[0].file} ${data.groups[0].name}`);
    token = data.groupNextToken ?? '';
    if (token === '') break;
  }
  expect(seen).toEqual(ALL.map(([name]) => name));
});

test('active alerts of all groups', async () => {
  const { data } = await get('alerts');
  expect(data.alerts.map(({ state, value }: Alert) => [state, value])).toEqual([
    ['firing', '1e+00'],
    ['pending', '1e-07'],
  ]);
});

test('alertmanagers', async () => {
  expect((await get('alertmanagers')).data).toEqual({
    activeAlertmanagers: [{ url: 'http://a:9093/api/v2/alerts' }],
    droppedAlertmanagers: [{ url: 'http://b' }],
  });
});
