// http_sd and consul_sd against a real Prometheus 3.14: the same servers, the same targets, label by label.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished, test } from 'vitest';
import { FakeConsul } from '../support/consul.ts';
import { DROP_ALL, expectSame, startOurs, startUpstream, UPSTREAM } from '../support/discovery-oracle.ts';
import { hasPrograms } from '../support/process.ts';

const isRunnable = hasPrograms(UPSTREAM);

async function startTargetServer(): Promise<{ url: string; body: string }> {
  const state = { url: '', body: '' };
  const server = http.createServer((_, response) => {
    response.setHeader('content-type', 'application/json; charset=utf-8');
    response.end(state.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/targets?a=b`;
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return state;
}

test.skipIf(!isRunnable)(
  'http_sd and consul_sd find what Prometheus finds, at first and after changes',
  async () => {
    const consul = await FakeConsul.start();
    const targets = await startTargetServer();
    targets.body = JSON.stringify([
      {
        targets: ['10.3.0.1:1', '10.3.0.2:2'],
        labels: { env: 'a', __meta_own: 'x', 'odd.name': 'y', empty: '' },
      },
      { targets: [], labels: { env: 'none' } },
      { targets: ['[fd00::1]:3'] },
    ]);
    consul.put('web', [
      {
        port: 80,
        tags: ['b', 'a'],
        nodeMeta: { 'rack-no': '7', zone: 'z' },
        taggedAddresses: { lan: '10.2.0.1', 'wan-ipv4': '192.0.2.1' },
        meta: { 'version/x': '1' },
        checks: [
          { id: 'one', status: 'passing' },
          { id: 'two', status: 'warning' },
        ],
      },
      { port: 81, tags: ['a'], address: '10.2.9.9', checks: [{ id: 'c', status: 'critical' }] },
      {
        port: 82,
        address: 'fd00::2',
        tags: ['a', 'b'],
        checks: [{ id: '_node_maintenance', status: 'critical' }],
      },
    ]);
    consul.put('db main', [{ port: 5432, node: 'other', nodeAddress: 'fd00::7' }]);
    const item = (keys: string): string => `{server: "${consul.address}", refresh_interval: 1s${keys}}`;
    const jobs: Record<string, string> = {
      http: `http_sd_configs: [{url: "${targets.url}", refresh_interval: 1s}]`,
      consul: `consul_sd_configs: [${item('')}]`,
      'consul-named': `consul_sd_configs: [${item(', services: [web, missing]')}]`,
      'consul-tagged': `consul_sd_configs: [${item(', tags: [a, b], tag_separator: "|"')}]`,
      'consul-both': `consul_sd_configs: [${item(', services: [web], tags: [b], datacenter: dc9')}]`,
    };
    const lines = Object.entries(jobs).map(
      ([name, keys]) => `  - {job_name: ${name}, ${DROP_ALL}, ${keys}}\n`,
    );
    const config = `scrape_configs:\n${lines.join('')}`;
    const [upstream, ours] = await Promise.all([startUpstream(config), startOurs(config)]);
    let compared = await expectSame(upstream, ours, 12);
    consul.put('web', [{ port: 80, tags: ['b', 'a'] }]);
    consul.put('new', [{ port: 9, tags: ['a', 'b'] }, { port: 10 }]);
    consul.put('db main', undefined);
    targets.body = JSON.stringify([{ targets: ['10.3.0.9:9'], labels: { now: 'this' } }]);
    compared += await expectSame(upstream, ours, 7, ['10.3.0.9:9', 'new-1']);
    console.info(`${compared} label sets are Prometheus' own`);
  },
  90_000,
);
