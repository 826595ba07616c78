// DNS, HTTP and Consul discovery on servers of their own: what they find, and what stays when they fail. That http_sd and consul_sd
// make Prometheus' labels is test/conformance/asked-discovery.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { FakeConsul } from '../../../test/support/consul.ts';
import { startDnsServer } from '../../../test/support/dns-server.ts';
import { waitFor } from '../../../test/support/programs.ts';
import { systemClock } from '../core/clock.ts';
import { loadConfig } from '../runtime/config/load-config.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import { createDiscovery, type Discovery } from './discovery.ts';
import { createDiscoverySources } from './discovery-sources.ts';
import { candidates, type DnsEnvironment, parseSearchList } from './dns-discovery.ts';
import { parseGroups } from './http-discovery.ts';

async function start(keys: string, dns?: DnsEnvironment): Promise<Discovery & { changes: number }> {
  const environment = { clock: systemClock, logger: createSilentLogger() };
  const sources = createDiscoverySources({ ...environment, registry: new Registry() });
  const state = { changes: 0 };
  const config = loadConfig(`scrape_configs: [{job_name: a, ${keys}}]`, '/').scrapeConfigs[0]!.discovery;
  const discovery = createDiscovery(config, {
    ...environment,
    onChange: () => state.changes++,
    onError: () => {},
    sources: dns === undefined ? sources : { ...sources, dns },
  });
  await discovery.start();
  onTestFinished(() => discovery.stop());
  return Object.assign(state, discovery);
}

/** `address label=value …` of all targets. */
function targetsOf(discovery: Discovery): string[] {
  return discovery
    .groups()
    .flatMap(({ targets, targetLabels, labels }) =>
      targets.map((target, i) =>
        [target, ...[...labels, ...(targetLabels?.[i] ?? [])].map((pair) => pair.join('='))].join(' '),
      ),
    )
    .toSorted();
}

describe('dns', () => {
  const conf = (text: string): string => {
    const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-dns-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = path.join(folder, 'resolv.conf');
    writeFileSync(file, text);
    return file;
  };

  test('A, AAAA, SRV, MX and NS become targets', async () => {
    const server = await startDnsServer();
    server.zone.set('all.example', [
      { type: 'A', value: '10.4.0.1' },
      { type: 'A', value: '10.4.0.2' },
      { type: 'AAAA', value: 'fd000000000000000000000000000005' },
      { type: 'SRV', value: '1 2 8080 host.example' },
      { type: 'MX', value: '10 mail.example' },
      { type: 'NS', value: 'ns.example' },
    ]);
    const dns = { resolvConf: conf(''), servers: [server.address] };
    const of = async (type: string): Promise<string[]> =>
      targetsOf(await start(`dns_sd_configs: [{names: [all.example], type: ${type}, port: 9}]`, dns));
    expect(await of('A')).toEqual([
      '10.4.0.1:9 __meta_dns_name=all.example',
      '10.4.0.2:9 __meta_dns_name=all.example',
    ]);
    expect(await of('AAAA')).toEqual(['[fd00::5]:9 __meta_dns_name=all.example']);
    expect(await of('SRV')).toEqual([
      'host.example:8080 __meta_dns_name=all.example __meta_dns_srv_record_port=8080 __meta_dns_srv_record_target=host.example.',
    ]);
    expect(await of('MX')).toEqual([
      'mail.example:9 __meta_dns_name=all.example __meta_dns_mx_record_target=mail.example.',
    ]);
    expect(await of('NS')).toEqual([
      'ns.example:9 __meta_dns_name=all.example __meta_dns_ns_record_target=ns.example.',
    ]);
  });

  test('the search list is tried as resolv.conf says', async () => {
    const server = await startDnsServer();
    server.zone.set('svc.second.example', [{ type: 'A', value: '10.4.0.7' }]);
    const resolvConf = conf('nameserver 127.0.0.1\nsearch first.example second.example\noptions ndots:5\n');
    const discovery = await start('dns_sd_configs: [{names: [svc], type: A, port: 1}]', {
      resolvConf,
      servers: [server.address],
    });
    expect(targetsOf(discovery)).toEqual(['10.4.0.7:1 __meta_dns_name=svc']);
    expect(server.asked).toEqual(['svc.first.example', 'svc.second.example']);
  });

  test.each([
    ['a.b', 'search x', ['a.b.', 'a.b.x.']],
    ['a', 'search x y.', ['a.x.', 'a.y.', 'a.']],
    ['a.b.', 'search x', ['a.b.']],
    ['a.b', 'domain d\noptions ndots:3 rotate', ['a.b.d.', 'a.b.']],
  ])('%s under %j is asked for as %j', (name, text, asked) => {
    expect(candidates(name, parseSearchList(text))).toEqual(asked);
  });

  test('a name that fails keeps its targets, one that is gone loses them, the others go on', async () => {
    const server = await startDnsServer();
    server.zone.set('one.example', [{ type: 'A', value: '10.4.0.1' }]);
    const dns = { resolvConf: conf(''), servers: [server.address] };
    const discovery = await start(
      'dns_sd_configs: [{names: [one.example], type: A, port: 1, refresh_interval: 50ms}]',
      dns,
    );
    expect(discovery.problems()).toEqual([]);
    server.failure = 2;
    await waitFor('the problem', async () => discovery.problems().length > 0);
    expect(discovery.problems()[0]).toMatch(/^dns_sd A one\.example: .*ESERVFAIL/);
    expect(targetsOf(discovery)).toHaveLength(1);
    server.failure = 0;
    server.zone.set('one.example', [{ type: 'A', value: '10.4.0.2' }]);
    await waitFor('the new address', async () => targetsOf(discovery)[0]?.startsWith('10.4.0.2') === true);
    expect(discovery.problems()).toEqual([]);
    const { changes } = discovery;
    server.zone.delete('one.example');
    await waitFor('no target', async () => targetsOf(discovery).length === 0);
    expect(discovery.changes).toBe(changes + 1);
  });
});

describe('http', () => {
  interface Server {
    readonly url: string;
    answer: (response: http.ServerResponse) => void;
    readonly requests: http.IncomingMessage[];
  }

  const startServer = async (): Promise<Server> => {
    const state: Server = { url: '', answer: () => {}, requests: [] };
    const server = http.createServer((request, response) => {
      state.requests.push(request);
      state.answer(response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(
      () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
          server.closeAllConnections();
        }),
    );
    return Object.assign(state, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/x` });
  };

  const json =
    (body: string, type = 'application/json') =>
    (response: http.ServerResponse): void => {
      response.setHeader('content-type', type).end(body);
    };

  test.each<[string, (response: http.ServerResponse) => void]>([
    ['server returned HTTP status 500', (response) => response.writeHead(500).end()],
    ['unsupported content type "text/html"', json('[]', 'text/html')],
    ['malformed JSON', json('[{"targets": ["a')],
    ['[0]: unknown key "target"', json('[{"target": []}]')],
    [
      'no complete answer within 0.3s (refresh_interval)',
      (response) => response.writeHead(200, { 'content-type': 'application/json' }).write('['),
    ],
    ['socket hang up', (response) => response.socket?.destroy()],
  ])('%s: the last targets stay', async (problem, failure) => {
    const server = await startServer();
    server.answer = json('[{"targets": ["h:1"], "labels": {"a": "b"}}]');
    const discovery = await start(
      `http_sd_configs: [{url: "${server.url}", refresh_interval: 300ms, authorization: {credentials: tok}}]`,
    );
    expect(targetsOf(discovery)).toEqual([`h:1 __meta_url=${server.url} a=b`]);
    expect(server.requests[0]!.headers).toMatchObject({
      accept: 'application/json',
      authorization: 'Bearer tok',
      'x-prometheus-refresh-interval-seconds': '0.3',
    });
    server.answer = failure;
    await waitFor('the problem', async () => discovery.problems()[0]?.includes(problem) === true, {
      describe: () => discovery.problems().join('\n'),
    });
    expect(targetsOf(discovery)).toHaveLength(1);
    server.answer = json('[{"targets": ["h:2"]}]');
    await waitFor('the next targets', async () => targetsOf(discovery)[0]?.startsWith('h:2') === true);
    expect(discovery.problems()).toEqual([]);
  });

  test.each([
    ['{}', 'a list of groups is expected'],
    ['[null]', '[0] is not a group'],
    ['[{"targets": [1]}]', '[0].targets is not a list of strings'],
    ['[{"labels": {"a": 1}}]', '[0].labels: "a" is not a label name with a string'],
  ])('%s is refused', (text, problem) => {
    expect(() => parseGroups(text, 'http://user:secret@h/')).toThrow(problem);
    expect(() => parseGroups(text, 'http://user:secret@h/')).not.toThrow('secret');
  });

  test('a label may be called __proto__', () => {
    const [group] = parseGroups('[{"targets": ["a"], "labels": {"__proto__": "x"}}]', 'http://h/');
    expect(group!.labels.get('__proto__')).toBe('x');
  });
});

describe('consul', () => {
  test('a server that is away or refuses keeps what it said', async () => {
    const consul = await FakeConsul.start();
    consul.token = 'tok';
    consul.put('web', [{ port: 80 }]);
    const refused = await start(`consul_sd_configs: [{server: "${consul.address}"}]`);
    expect(refused.problems()[0]).toContain(
      '/v1/agent/self: HTTP status 403 (Permission denied); the token needs read permission',
    );
    const discovery = await start(
      `consul_sd_configs: [{server: "http://${consul.address}", token: tok, refresh_interval: 20ms}]`,
    );
    expect(discovery.groups().flatMap(({ targets }) => targets)).toEqual(['10.2.0.1:80']);
    consul.status = 500;
    consul.wake();
    await waitFor('the problem', async () => discovery.problems().length > 0);
    expect(discovery.problems()[0]).toContain('HTTP status 500 (scripted)');
    expect(discovery.groups()).toHaveLength(1);
  });
});
