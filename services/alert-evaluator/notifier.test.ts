import { mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../../test/support/programs.ts';
import { alertmanagerSection } from '../../test/support/rule-world.ts';
import { systemClock } from '../lib/core/clock.ts';
import { createDiscoverySources } from '../lib/discovery/discovery-sources.ts';
import { Labels } from '../lib/model/labels.ts';
import type { RelabelConfig } from '../lib/relabel/relabel-config.ts';
import { PLAIN_HTTP } from '../lib/runtime/config/http-client-section.ts';
import type { AlertmanagerConfig } from '../lib/runtime/config/prometheus-config.ts';
import { Secret } from '../lib/runtime/config/secret.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { createEvaluatorMetrics } from './evaluator-metrics.ts';
import { BATCH_ALERTS, encodeAlerts, Notifier, type OutgoingAlert } from './notifier.ts';

interface Received {
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly alerts: readonly { readonly labels: Readonly<Record<string, string>> }[];
}

/** An HTTP server that keeps what it gets and answers as the test says. */
async function startReceiver(answer: (response: ServerResponse) => void = (response) => response.end()) {
  const received: Received[] = [];
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => {
      body += piece.toString();
    });
    request.on('end', () => {
      received.push({ url: request.url ?? '', headers: request.headers, alerts: JSON.parse(body) });
      answer(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { received, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const alert = (name: string, labels: Readonly<Record<string, string>> = {}): OutgoingAlert => ({
  labels: Labels.from([['alertname', name], ...Object.entries(labels)]),
  annotations: [['summary', 's']],
  startsAtMs: 1_500,
  endsAtMs: 61_500,
  generatorUrl: 'http://x/graph',
});

const step = (changes: Partial<RelabelConfig>): RelabelConfig => ({
  action: 'drop',
  sourceLabels: [],
  separator: ';',
  regex: '(.*)',
  modulus: 0,
  targetLabel: '',
  replacement: '$1',
  ...changes,
});

/** Of a group whose holder may send for `validForMs`, as it finds out when it asks. */
const fenceOf = (validForMs: () => number) => ({ confirm: () => Promise.resolve(), validForMs });

async function startNotifier(
  alertmanagers: readonly AlertmanagerConfig[],
  options: { queueCapacity?: number; relabel?: readonly RelabelConfig[] } = {},
) {
  const registry = new Registry();
  const environment = { clock: systemClock, logger: createSilentLogger() };
  const notifier = new Notifier(
    { queueCapacity: options.queueCapacity ?? 10_000 },
    {
      ...environment,
      metrics: createEvaluatorMetrics(registry),
      discovery: createDiscoverySources({ ...environment, registry }),
    },
  );
  await notifier.applyConfig(
    { alertRelabelConfigs: options.relabel ?? [], alertmanagers },
    Labels.from([
      ['region', 'eu'],
      ['severity', 'external'],
    ]),
  );
  onTestFinished(() => notifier.stop());
  const value = async (name: string): Promise<number> => {
    const metric = await registry.getSingleMetric(name)?.get();
    return (metric?.values ?? []).reduce((sum, each) => sum + each.value, 0);
  };
  return { notifier, value };
}

test('the body of a request', () => {
  const text = Buffer.from(encodeAlerts([alert('A', { ['__proto__']: 'x' })])).toString();
  expect(text).toBe(
    '[{"labels":{"__proto__":"x","alertname":"A"},"annotations":{"summary":"s"},' +
      '"startsAt":"1970-01-01T00:00:01.500Z","endsAt":"1970-01-01T00:01:01.500Z","generatorURL":"http://x/graph"}]',
  );
});

describe('what is sent', () => {
  test('external labels are added, the alert’s own win; both relabellings apply', async () => {
    const one = await startReceiver();
    const two = await startReceiver();
    const { notifier, value } = await startNotifier(
      [
        alertmanagerSection([one.address], { pathPrefix: '/am/' }),
        alertmanagerSection([two.address], {
          alertRelabelConfigs: [step({ sourceLabels: ['alertname'], regex: 'B' })],
        }),
      ],
      {
        relabel: [
          step({ action: 'labeldrop', regex: 'replica' }),
          step({ sourceLabels: ['alertname'], regex: 'C' }),
        ],
      },
    );
    notifier.send([alert('A', { severity: 'page', replica: '1' }), alert('B'), alert('C')]);
    await notifier.drain();
    expect(one.received.map(({ url }) => url)).toEqual(['/am/api/v2/alerts']);
    expect(one.received[0]!.alerts.map(({ labels }) => labels)).toEqual([
      { alertname: 'A', region: 'eu', severity: 'page' },
      { alertname: 'B', region: 'eu', severity: 'external' },
    ]);
    expect(two.received[0]!.alerts.map(({ labels }) => labels.alertname)).toEqual(['A']);
    expect(await value('tidemark_notifications_sent_total')).toBe(3);
  });

  test('who may not send any more does not, neither when asked before nor once it is connected', async () => {
    const receiver = await startReceiver();
    const { notifier, value } = await startNotifier([alertmanagerSection([receiver.address])]);
    const free = alert('free');
    const own = { ...alert('own'), fence: fenceOf(() => 5_000.5) };
    const lost = { ...alert('lost'), fence: fenceOf(() => 0) };
    notifier.send([free, own, lost]);
    await notifier.drain();
    expect(receiver.received.map(({ alerts }) => alerts.map(({ labels }) => labels.alertname))).toEqual([
      ['free', 'own'],
    ]);
    // Stopped for long while it connects: asked first, for the time it has, and then for whether it still may.
    let asked = 0;
    notifier.send([{ ...alert('late'), fence: fenceOf(() => (asked++ < 2 ? 5_000 : 0)) }]);
    await notifier.drain();
    expect(asked).toBe(3);
    expect(receiver.received).toHaveLength(1);
    expect(await value('tidemark_notifications_fenced_total')).toBe(2);
    expect(await value('tidemark_notifications_errors_total')).toBe(0);
    expect(await value('tidemark_notifications_sent_total')).toBe(2);
  });

  test('at most 256 alerts in a request, in order', async () => {
    const receiver = await startReceiver();
    const { notifier } = await startNotifier([alertmanagerSection([receiver.address])]);
    const names = Array.from({ length: 600 }, (_, i) => `A${i}`);
    notifier.send(names.map((name) => alert(name)));
    await notifier.drain();
    expect(receiver.received.map(({ alerts }) => alerts.length)).toEqual([BATCH_ALERTS, BATCH_ALERTS, 88]);
    expect(receiver.received.flatMap(({ alerts }) => alerts.map(({ labels }) => labels.alertname))).toEqual(
      names,
    );
  });

  test('credentials and headers', async () => {
    const receiver = await startReceiver();
    const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
    writeFileSync(path.join(folder, 'token'), 'from-file\n');
    const sections = [
      { ...PLAIN_HTTP, basicAuth: { username: 'u', password: new Secret('p') } },
      { ...PLAIN_HTTP, authorization: { type: 'Token', credentials: new Secret('t') } },
      {
        ...PLAIN_HTTP,
        credentialsFile: path.join(folder, 'token'),
        headers: new Map([['X-Scope', [new Secret('a')]]]),
      },
    ];
    for (const http of sections) {
      const { notifier } = await startNotifier([alertmanagerSection([receiver.address], { http })]);
      notifier.send([alert('A')]);
      await notifier.drain();
    }
    expect(receiver.received.map(({ headers }) => headers.authorization)).toEqual([
      `Basic ${Buffer.from('u:p').toString('base64')}`,
      'Token t',
      'Bearer from-file',
    ]);
    expect(receiver.received[2]!.headers['x-scope']).toBe('a');
    expect(receiver.received[0]!.headers['content-type']).toBe('application/json');
  });

  test('a redirect keeps the body; credentials stay behind', async () => {
    const other = await startReceiver();
    const first = await startReceiver((response) => {
      response.writeHead(307, { location: `http://${other.address}/elsewhere` }).end();
    });
    const http = { ...PLAIN_HTTP, authorization: { type: 'Bearer', credentials: new Secret('t') } };
    const { notifier, value } = await startNotifier([alertmanagerSection([first.address], { http })]);
    notifier.send([alert('A')]);
    await notifier.drain();
    expect(first.received[0]!.headers.authorization).toBe('Bearer t');
    expect(other.received[0]).toMatchObject({ url: '/elsewhere' });
    expect(other.received[0]!.headers.authorization).toBeUndefined();
    expect(await value('tidemark_notifications_sent_total')).toBe(1);
  });
});

describe('what goes wrong', () => {
  test('an Alertmanager that refuses, hangs or is not there delays no other', async () => {
    const good = await startReceiver();
    const bad = await startReceiver((response) => response.writeHead(500).end('no'));
    const silent = await startReceiver(() => undefined);
    const { notifier, value } = await startNotifier([
      alertmanagerSection(['127.0.0.1:1', bad.address, good.address]),
      alertmanagerSection([silent.address], { timeoutMs: 200 }),
    ]);
    notifier.send([alert('A')]);
    await waitFor('the good one has it', async () => good.received.length === 1, { timeoutMs: 1000 });
    await notifier.drain();
    expect(await value('tidemark_notifications_sent_total')).toBe(1);
    expect(await value('tidemark_notifications_errors_total')).toBe(3);
    expect(await value('tidemark_notifications_dropped_total')).toBe(3);
  });

  test('a full queue drops its oldest alerts', async () => {
    const waiting: ServerResponse[] = [];
    const receiver = await startReceiver((response) => void waiting.push(response));
    const { notifier, value } = await startNotifier([alertmanagerSection([receiver.address])], {
      queueCapacity: 3,
    });
    notifier.send([alert('first')]);
    await waitFor('the first is under way', async () => waiting.length === 1);
    for (const name of ['a', 'b', 'c', 'd', 'e']) notifier.send([alert(name)]);
    expect(await value('tidemark_notifications_queue_length')).toBe(3);
    expect(await value('tidemark_notifications_dropped_total')).toBe(2);
    waiting[0]!.end();
    await waitFor('the rest is under way', async () => waiting.length === 2);
    waiting[1]!.end();
    await notifier.drain();
    expect(receiver.received[1]!.alerts.map(({ labels }) => labels.alertname)).toEqual(['c', 'd', 'e']);
  });

  test('a new configuration loses nothing that waits for an Alertmanager that stays', async () => {
    const waiting: ServerResponse[] = [];
    const receiver = await startReceiver((response) => void waiting.push(response));
    const section = alertmanagerSection([receiver.address]);
    const { notifier } = await startNotifier([section]);
    notifier.send([alert('a')]);
    await waitFor('the first is under way', async () => waiting.length === 1);
    notifier.send([alert('b')]);
    await notifier.applyConfig({ alertRelabelConfigs: [], alertmanagers: [section] }, Labels.empty);
    await waitFor('both come again', async () => receiver.received.length === 2);
    expect(receiver.received[1]!.alerts.map(({ labels }) => labels.alertname)).toEqual(['a', 'b']);
    waiting[1]!.end();
    await notifier.drain();
  });

  test('without an Alertmanager alerts are counted as dropped', async () => {
    const { notifier, value } = await startNotifier([]);
    notifier.send([alert('A'), alert('B')]);
    expect(await value('tidemark_notifications_dropped_total')).toBe(2);
  });

  test('drain gives up after a while', async () => {
    const silent = await startReceiver(() => undefined);
    const { notifier } = await startNotifier([alertmanagerSection([silent.address], { timeoutMs: 60_000 })]);
    notifier.send([alert('A')]);
    const startedMs = performance.now();
    await notifier.drain();
    expect(performance.now() - startedMs).toBeLessThan(30_000);
  });
});

describe('which Alertmanagers', () => {
  test('relabelling drops and rewrites', async () => {
    const section = alertmanagerSection(['a:9093', 'b:9093', 'c:9093', 'a:9093'], {
      relabelConfigs: [
        step({ sourceLabels: ['__address__'], regex: 'b:.*' }),
        step({
          action: 'replace',
          targetLabel: '__scheme__',
          replacement: 'https',
          sourceLabels: ['__address__'],
          regex: 'c:.*',
        }),
        step({
          action: 'replace',
          targetLabel: '__alerts_path__',
          replacement: '/x',
          sourceLabels: ['__address__'],
          regex: 'c:.*',
        }),
      ],
    });
    const { notifier, value } = await startNotifier([section]);
    expect(notifier.active()).toEqual(['http://a:9093/api/v2/alerts', 'https://c:9093/x']);
    expect(notifier.dropped()).toEqual(['http://b:9093/api/v2/alerts']);
    expect(await value('tidemark_notifications_alertmanagers')).toBe(2);
  });

  test('files are followed', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
    const file = path.join(folder, 'targets.json');
    writeFileSync(file, '[{"targets": ["a:9093"]}]');
    const { notifier } = await startNotifier([
      alertmanagerSection([], {
        discovery: {
          staticConfigs: [],
          fileSdConfigs: [{ files: [path.join(folder, '*.json')], refreshIntervalMs: 200 }],
        },
      }),
    ]);
    expect(notifier.active()).toEqual(['http://a:9093/api/v2/alerts']);
    writeFileSync(`${file}.new`, '[{"targets": ["b:9093", "c:9093"]}]');
    renameSync(`${file}.new`, file);
    await waitFor('the new ones are there', async () => notifier.active().length === 2);
    expect(notifier.active()).toEqual(['http://b:9093/api/v2/alerts', 'http://c:9093/api/v2/alerts']);
  });
});
