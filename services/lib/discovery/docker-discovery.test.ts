// Docker discovery against a server that answers as the Docker Engine API documents it (v1.43: /containers/json, /networks): over TCP and
// on a Unix socket, with the labels that Prometheus' documents name.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../../../test/support/programs.ts';
import { freshFolder } from '../../../test/support/tidemark.ts';
import { systemClock } from '../core/clock.ts';
import { loadConfig } from '../runtime/config/load-config.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import { createDiscovery, type Discovery } from './discovery.ts';
import { createDiscoverySources } from './discovery-sources.ts';

const WEB = {
  Id: 'c1',
  Names: ['/web'],
  Labels: { 'com.example/tier': 'front', team: 'shop' },
  HostConfig: { NetworkMode: 'shop' },
  NetworkSettings: {
    Networks: {
      shop: { NetworkID: 'n1', IPAddress: '172.19.0.2', GlobalIPv6Address: '' },
      backup: { NetworkID: 'n2', IPAddress: '172.20.0.2', GlobalIPv6Address: '' },
    },
  },
  Ports: [
    { PrivatePort: 8080, PublicPort: 18080, IP: '0.0.0.0', Type: 'tcp' },
    { PrivatePort: 9000, Type: 'tcp' },
    { PrivatePort: 53, Type: 'udp' },
  ],
};
const SIDECAR = {
  Id: 'c2',
  Names: ['/sidecar'],
  Labels: {},
  HostConfig: { NetworkMode: 'container:c1' },
  NetworkSettings: { Networks: {} },
  Ports: [],
};
const HOST = {
  Id: 'c3',
  Names: ['/host'],
  Labels: null,
  HostConfig: { NetworkMode: 'host' },
  NetworkSettings: { Networks: { host: { NetworkID: 'n3', IPAddress: '', GlobalIPv6Address: '' } } },
  Ports: [],
};
const V6 = {
  Id: 'c4',
  Names: ['/six'],
  HostConfig: { NetworkMode: 'shop' },
  NetworkSettings: { Networks: { shop: { NetworkID: 'n1', IPAddress: '', GlobalIPv6Address: 'fd00::4' } } },
  Ports: [{ PrivatePort: 9100, Type: 'tcp' }],
};
/** Two containers, each of which has the other's network: nothing that ends by itself. */
const CIRCLE = ['a', 'b'].map((id) => ({
  Id: id,
  Names: [`/${id}`],
  HostConfig: { NetworkMode: `container:${id === 'a' ? 'b' : 'a'}` },
  NetworkSettings: { Networks: {} },
}));
const NETWORKS = [
  { Id: 'n1', Name: 'shop', Scope: 'local', Internal: false, Ingress: false, Labels: { 'a.b': 'c' } },
  { Id: 'n2', Name: 'backup', Scope: 'local', Internal: true, Ingress: false, Labels: {} },
  { Id: 'n3', Name: 'host', Scope: 'local', Internal: false, Ingress: false, Labels: {} },
];

interface Daemon {
  host: string;
  containers: unknown;
  status: number;
  readonly asked: string[];
}

async function startDaemon(socket?: string): Promise<Daemon> {
  const daemon: Daemon = { host: '', containers: [WEB], status: 200, asked: [] };
  const server = http.createServer((request, response) => {
    daemon.asked.push(request.url!);
    const body = request.url!.startsWith('/networks') ? NETWORKS : daemon.containers;
    response.writeHead(daemon.status, { 'content-type': 'application/json' });
    response.end(daemon.status === 200 ? JSON.stringify(body) : '{"message":"no permission"}');
  });
  await new Promise<void>((resolve) => {
    if (socket === undefined) server.listen(0, '127.0.0.1', resolve);
    else server.listen(socket, resolve);
  });
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  daemon.host =
    socket === undefined ? `tcp://127.0.0.1:${(server.address() as AddressInfo).port}` : `unix://${socket}`;
  return daemon;
}

async function discover(keys: string): Promise<Discovery> {
  const environment = { clock: systemClock, logger: createSilentLogger() };
  const { discovery: config } = loadConfig(
    `scrape_configs: [{job_name: a, docker_sd_configs: [{refresh_interval: 100ms, ${keys}}]}]`,
    '/',
  ).scrapeConfigs[0]!;
  const discovery = createDiscovery(config, {
    ...environment,
    onChange: () => {},
    onError: () => {},
    sources: createDiscoverySources({ ...environment, registry: new Registry() }),
  });
  await discovery.start();
  onTestFinished(() => discovery.stop());
  return discovery;
}

/** Address → labels of each target. */
function targetsOf(discovery: Discovery): [string, Record<string, string>][] {
  return discovery
    .groups()
    .flatMap(({ targets, targetLabels }) =>
      targets.map((target, i): [string, Record<string, string>] => [
        target,
        Object.fromEntries(targetLabels![i]!.entries()),
      ]),
    );
}

const BACKUP = {
  __meta_docker_network_id: 'n2',
  __meta_docker_network_name: 'backup',
  __meta_docker_network_scope: 'local',
  __meta_docker_network_internal: 'true',
  __meta_docker_network_ingress: 'false',
  __meta_docker_network_ip: '172.20.0.2',
};
const WEB_LABELS = {
  __meta_docker_container_id: 'c1',
  __meta_docker_container_name: '/web',
  __meta_docker_container_network_mode: 'shop',
  __meta_docker_container_label_com_example_tier: 'front',
  __meta_docker_container_label_team: 'shop',
};

test('a target per TCP port, in the first network by name, with all labels', async () => {
  const daemon = await startDaemon();
  const discovery = await discover(`host: "${daemon.host}"`);
  expect(targetsOf(discovery)).toEqual([
    [
      '172.20.0.2:8080',
      {
        ...WEB_LABELS,
        ...BACKUP,
        __meta_docker_port_private: '8080',
        __meta_docker_port_public: '18080',
        __meta_docker_port_public_ip: '0.0.0.0',
      },
    ],
    ['172.20.0.2:9000', { ...WEB_LABELS, ...BACKUP, __meta_docker_port_private: '9000' }],
  ]);
});

test('on a Unix socket: all networks, shared ones, the host’s, IPv6, and filters as the API has them', async () => {
  const daemon = await startDaemon(path.join(freshFolder(), 'docker.sock'));
  daemon.containers = [WEB, SIDECAR, HOST, V6, ...CIRCLE, { Id: 'new', Names: [] }];
  const discovery = await discover(
    `host: "${daemon.host}", port: 99, match_first_network: false, host_networking_host: outside, filters: [{name: label, values: [a, b]}]`,
  );
  expect(
    targetsOf(discovery).map(([address, labels]) => `${labels.__meta_docker_container_name} ${address}`),
  ).toEqual([
    '/web 172.20.0.2:8080',
    '/web 172.20.0.2:9000',
    '/web 172.19.0.2:8080',
    '/web 172.19.0.2:9000',
    '/sidecar 172.20.0.2:99',
    '/sidecar 172.19.0.2:99',
    '/host outside',
    '/six [fd00::4]:9100',
  ]);
  expect(targetsOf(discovery)[2]![1].__meta_docker_network_label_a_b).toBe('c');
  const url = new URL(daemon.asked[0]!, 'http://docker');
  expect(url.pathname).toBe('/containers/json');
  expect(JSON.parse(url.searchParams.get('filters')!)).toEqual({ label: ['a', 'b'] });
});

test('what fails keeps the last result and says so', async () => {
  const daemon = await startDaemon();
  const discovery = await discover(`host: "${daemon.host}"`);
  daemon.status = 403;
  await waitFor('a problem', async () => discovery.problems().length > 0);
  expect(discovery.problems()[0]).toContain(
    '/containers/json: HTTP status 403 ({"message":"no permission"})',
  );
  expect(targetsOf(discovery)).toHaveLength(2);
  daemon.status = 200;
  daemon.containers = { message: 'not a list' };
  await waitFor('another', async () => discovery.problems()[0]?.includes('not a list of objects') === true);
  daemon.containers = [];
  await waitFor('none', async () => targetsOf(discovery).length === 0);
  expect(discovery.problems()).toEqual([]);
});
