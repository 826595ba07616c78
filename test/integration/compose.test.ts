// docker-compose.yml against what it names: services, files, volumes, hosts and ports, and the flags of the real main.ts files.
import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { repositoryRoot } from '../support/programs.ts';
import { knownEnvironment, refusalOf, SERVICES } from '../support/service-command.ts';

interface ComposeService {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly hostname?: string;
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly depends_on?: readonly string[];
  readonly networks?: Readonly<Record<string, { readonly aliases: readonly string[] }>>;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
}

const text = readFileSync(path.join(repositoryRoot, 'docker-compose.yml'), 'utf8');
const compose = parse(text, { merge: true }) as {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly volumes: Readonly<Record<string, null>>;
};
const services = Object.entries(compose.services);
const own = services.filter(([, service]) => service.image.includes('tidemark'));
const deployFile = (name: string): string => path.join(repositoryRoot, 'deploy/docker', name);

/** `${NAME:-default}` as compose fills it in when nothing is set. */
const filled = (value: string): string => value.replace(/\$\{\w+:-([^}]*)\}/g, '$1');

/** Names under which containers reach each other. */
const hosts = new Set(
  services.flatMap(([name, service]) => [
    name,
    ...Object.values(service.networks ?? {}).flatMap((one) => one.aliases),
  ]),
);

function serviceFolder(service: ComposeService): string {
  return service.command![0]!.split('/')[1]!;
}

test('there are as many of each as a cluster needs that survives the loss of any one', () => {
  const counts = Object.fromEntries(
    SERVICES.map((name) => [name, own.filter(([, service]) => serviceFolder(service) === name).length]),
  );
  expect(counts).toEqual({
    scraper: 2,
    ingester: 3,
    store: 2,
    querier: 2,
    'alert-evaluator': 2,
    gateway: 2,
  });
  expect(services.filter(([, service]) => filled(service.image).startsWith('nats:'))).toHaveLength(3);
  const zones = own
    .filter(([, service]) => serviceFolder(service) === 'ingester')
    .map(([, service]) => service.command!.find((flag) => flag.startsWith('--cluster.zone=')));
  expect(new Set(zones).size).toBe(3);
});

describe.each(own)('%s', (name, service) => {
  test('its command line and environment are taken by the real main.ts', () => {
    const environment = Object.fromEntries(
      Object.entries(service.environment!).map(([key, value]) => [key, filled(value)]),
    );
    expect(refusalOf(service.command!.map(filled), environment)).toBe('');
  });

  test('it is itself: host name and instance are its name', () => {
    expect(service.hostname).toBe(name);
    expect(service.environment!.TIDEMARK_CLUSTER_INSTANCE).toBe(name);
  });

  test('it may write to its volume only', () => {
    expect(service.read_only).toBe(true);
    expect(service.cap_drop).toEqual(['ALL']);
    const isStateful = ['ingester', 'store', 'scraper'].includes(serviceFolder(service));
    expect((service.volumes ?? []).includes(`${name}:/data`)).toBe(isStateful);
  });
});

test('a flag that no service has would be noticed', () => {
  expect(refusalOf(['services/store/main.ts', '--cluster.zoen=a'])).toMatch(
    /exit 2.*unknown flag --cluster.zoen/,
  );
});

test('every variable of Tidemark is the twin of a flag', () => {
  const known = knownEnvironment();
  expect(known.size).toBeGreaterThan(20);
  for (const [name, service] of own) {
    for (const key of Object.keys(service.environment!)) expect(known, `${name}: ${key}`).toContain(key);
  }
});

test('what services depend on, mount and publish is there', () => {
  const published = new Set<string>();
  for (const [name, service] of services) {
    for (const other of service.depends_on ?? []) expect(hosts, name).toContain(other);
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':');
      if (source.startsWith('./')) expect(existsSync(path.join(repositoryRoot, source)), volume).toBe(true);
      else if (!source.startsWith('/')) expect(Object.keys(compose.volumes), volume).toContain(source);
    }
    for (const port of service.ports ?? []) {
      const [outside = ''] = filled(port).split(':');
      expect(published, `${name}: port ${outside} twice`).not.toContain(outside);
      published.add(outside);
    }
    if (service.build !== undefined) {
      expect(existsSync(path.join(repositoryRoot, service.build.context, service.build.dockerfile))).toBe(
        true,
      );
    }
  }
  const mounted = services
    .flatMap(([, service]) => service.volumes ?? [])
    .map((volume) => volume.split(':')[0]);
  for (const volume of Object.keys(compose.volumes))
    expect(mounted, 'a volume that nobody mounts').toContain(volume);
});

test('the NATS servers name each other, and the services name them', () => {
  const nats = services.filter(([name]) => name.startsWith('nats-')).map(([name]) => name);
  for (const [name, service] of services) {
    if (!nats.includes(name)) continue;
    expect(service.command).toContain(`--routes=${nats.map((each) => `nats://${each}:6222`).join(',')}`);
    expect(service.command).toContain('--jetstream');
  }
  for (const [, service] of own) {
    expect(service.environment!.TIDEMARK_NATS_URL!.split(',')).toEqual(
      nats.map((each) => `nats://${each}:4222`),
    );
  }
});

/** Ports that a container listens on, by what runs in it. */
function listens(host: string, port: number): boolean {
  const service = compose.services[host];
  if (service === undefined) return false;
  if (host === 'gateway' || own.some(([name]) => name === host)) return port === 9090;
  return (
    port ===
    (
      { 'node-exporter': 9100, alertmanager: 9093, prometheus: 9090, grafana: 3000 } as Record<string, number>
    )[host]
  );
}

test('Tidemark takes its configuration, and every target and Alertmanager in it is a service', () => {
  const folder = deployFile('tidemark');
  const file = path.join(folder, 'prometheus.yml');
  const config = loadConfig(readFileSync(file, 'utf8'), folder, { file });
  expect(config.notices).toEqual([]);
  const yaml = parse(readFileSync(file, 'utf8')) as {
    scrape_configs: { static_configs: { targets: string[] }[] }[];
    alerting: { alertmanagers: { static_configs: { targets: string[] }[] }[] };
    rule_files: string[];
  };
  const targets = [...yaml.scrape_configs, ...yaml.alerting.alertmanagers]
    .flatMap((each) => each.static_configs)
    .flatMap((each) => each.targets);
  for (const target of targets) {
    const [host = '', port] = target.split(':');
    expect(listens(host, Number(port)), target).toBe(true);
  }
  for (const [name] of own) expect(targets).toContain(`${name}:9090`);
  expect(globSync(yaml.rule_files, { cwd: folder })).not.toEqual([]);
});

test('all others point at services that listen', () => {
  const prometheus = readFileSync(deployFile('prometheus/prometheus.yml'), 'utf8');
  const grafana = readFileSync(deployFile('grafana/provisioning/datasources/tidemark.yml'), 'utf8');
  const urls = [...(prometheus + grafana).matchAll(/url: http:\/\/([\w-]+):(\d+)/g)];
  expect(urls).toHaveLength(2);
  for (const [, host, port] of urls) expect(listens(host!, Number(port)), host).toBe(true);
  const nginx = readFileSync(deployFile('nginx/nginx.conf'), 'utf8');
  const proxied = /set \$gateways http:\/\/([\w-]+):9090;/.exec(nginx)![1]!;
  const behind = own.filter(([, service]) => service.networks?.default?.aliases.includes(proxied));
  expect(behind.map(([name]) => name)).toEqual(['gateway-1', 'gateway-2']);
});

test('a host that is no service, or a port that nobody listens on, would be noticed', () => {
  expect(listens('nobody', 9090)).toBe(false);
  expect(listens('gateway', 80)).toBe(false);
});
