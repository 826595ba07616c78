// Discovery in Kubernetes against a scripted API server: how it is reached, what it refuses, and what happens when it fails.
// That the labels are Prometheus' own is test/conformance/kubernetes-discovery.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { certificate } from '../../../../test/support/certificate.ts';
import {
  type ApiObject,
  KubernetesApi,
  type KubernetesApiOptions,
} from '../../../../test/support/kubernetes-api.ts';
import { waitFor } from '../../../../test/support/programs.ts';
import { systemClock } from '../../core/clock.ts';
import { loadConfig } from '../../runtime/config/load-config.ts';
import { createSilentLogger } from '../../runtime/logger.ts';
import { createDiscovery, type Discovery } from '../discovery.ts';
import { SYSTEM_DNS } from '../dns-discovery.ts';
import { WatchHub } from './watch-hub.ts';

function pod(name: string, ip: string, labels: Record<string, string> = {}): ApiObject {
  return {
    metadata: { name, namespace: 'shop', labels },
    spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80 }] }] },
    status: { podIP: ip, phase: 'Running' },
  };
}

function folder(): string {
  const made = mkdtempSync(path.join(tmpdir(), 'tidemark-k8s-'));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

interface Rig {
  readonly hub: WatchHub;
  readonly registry: Registry;
  start(item: string): Promise<Discovery>;
}

function createRig(pod: { variables?: Record<string, string>; serviceAccountFolder?: string } = {}): Rig {
  const registry = new Registry();
  const logger = createSilentLogger();
  // Half of each pause at most: tests wait for several.
  const hub = new WatchHub({
    clock: systemClock,
    logger,
    registry,
    pod: { variables: pod.variables ?? {}, serviceAccountFolder: pod.serviceAccountFolder ?? '/nowhere' },
    random: () => 0,
  });
  onTestFinished(() => hub.stop());
  return {
    hub,
    registry,
    start: async (item) => {
      const yaml = `scrape_configs: [{job_name: a, kubernetes_sd_configs: [${item}]}]`;
      const discovery = createDiscovery(loadConfig(yaml, '/').scrapeConfigs[0]!.discovery, {
        clock: systemClock,
        logger,
        onChange: () => {},
        onError: () => {},
        sources: { hub, dns: SYSTEM_DNS },
      });
      await discovery.start();
      onTestFinished(() => discovery.stop());
      return discovery;
    },
  };
}

const targetsOf = (discovery: Discovery): string[] =>
  discovery
    .groups()
    .flatMap(({ targets }) => [...targets])
    .toSorted();

const settled = (discovery: Discovery, ...targets: readonly string[]): Promise<unknown> =>
  waitFor(`targets ${targets.join(' ')}`, async () => targetsOf(discovery).join(' ') === targets.join(' '), {
    describe: () => `${targetsOf(discovery).join(' ')}\n${discovery.problems().join('\n')}`,
  });

async function startApi(options: KubernetesApiOptions = {}): Promise<KubernetesApi> {
  const api = await KubernetesApi.start(options);
  api.put('pods', pod('a', '10.0.0.1'));
  return api;
}

describe('reaching the API server', () => {
  test('as a pod: environment, certificate and token of its service account; the token is read again when it was replaced', async () => {
    const tls = certificate(folder());
    const api = await startApi({ tls, tokens: ['first'] });
    const account = folder();
    writeFileSync(path.join(account, 'ca.crt'), tls.cert);
    writeFileSync(path.join(account, 'token'), 'first\n');
    writeFileSync(path.join(account, 'namespace'), 'shop');
    const { port } = new URL(api.url);
    const rig = createRig({
      variables: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: port },
      serviceAccountFolder: account,
    });
    const discovery = await rig.start('{role: pod, namespaces: {own_namespace: true}}');
    expect(targetsOf(discovery)).toEqual(['10.0.0.1:80']);
    expect(api.requests[0]).toMatchObject({ namespace: 'shop', headers: { authorization: 'Bearer first' } });
    await waitFor('the watch', async () => api.watchCount === 1);

    api.tokens = ['second'];
    api.endWatches();
    await waitFor('the refusal', async () => discovery.problems().length > 0);
    expect(discovery.problems()[0]).toMatch(
      /watch of pods in namespace shop: .* does not accept the credentials \(401\)/,
    );
    expect(targetsOf(discovery)).toEqual(['10.0.0.1:80']);
    api.put('pods', pod('b', '10.0.0.2'));
    writeFileSync(path.join(account, 'token'), 'second\n');
    await settled(discovery, '10.0.0.1:80', '10.0.0.2:80');
    expect(discovery.problems()).toEqual([]);
  });

  test('outside of a cluster the start does not wait, and the remedy is named', async () => {
    const discovery = await createRig().start('{role: node}');
    expect(discovery.groups()).toEqual([]);
    expect(discovery.problems()).toEqual([
      'Kubernetes: this process runs in no pod (KUBERNETES_SERVICE_HOST is not set); name api_server or kubeconfig_file',
    ]);
  });

  test('by a kubeconfig, with data, files and a context', async () => {
    const tls = certificate(folder());
    const api = await startApi({ tls, tokens: ['secret'] });
    const file = path.join(folder(), 'config');
    const ca = Buffer.from(tls.cert).toString('base64');
    writeFileSync(path.join(path.dirname(file), 'token'), 'secret');
    const config = (user: string): string => `{apiVersion: v1, kind: Config, current-context: here,
      contexts: [{name: there, context: {cluster: x, user: y}}, {name: here, context: {cluster: c, user: u}}],
      clusters: [{name: c, cluster: {server: "${api.url}", certificate-authority-data: ${ca}}}], users: [{name: u, user: ${user}}]}`;
    writeFileSync(file, config('{tokenFile: token}'));
    const discovery = await createRig().start(`{role: pod, kubeconfig_file: "${file}"}`);
    expect(targetsOf(discovery)).toEqual(['10.0.0.1:80']);

    writeFileSync(file, config('{exec: {command: aws}}'));
    const refused = await createRig().start(`{role: pod, kubeconfig_file: "${file}"}`);
    expect(refused.problems()[0]).toContain(
      'exec: needs a program to be run, which is not done; use a token',
    );
    writeFileSync(file, config('{token: secret}'));
    await settled(refused, '10.0.0.1:80');
  });

  test('by its address: basic authentication, a wrong certificate, a client that trusts anybody', async () => {
    const api = await startApi({ tls: certificate(folder()) });
    const distrusting = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    expect(distrusting.problems()[0]).toMatch(/^Kubernetes: list of pods: .*certificate/);
    const trusting = await createRig().start(
      `{role: pod, api_server: "${api.url}", basic_auth: {username: u, password: p}, tls_config: {insecure_skip_verify: true}}`,
    );
    expect(targetsOf(trusting)).toEqual(['10.0.0.1:80']);
    expect(api.requests.at(-1)!.headers.authorization).toBe(`Basic ${Buffer.from('u:p').toString('base64')}`);
  });
});

describe('refusals', () => {
  test.each([
    [
      'list',
      'pods',
      '',
      'pod',
      'list of pods in all namespaces: forbidden (403); a ClusterRole needs the rule {apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"]}',
    ],
    ['watch', 'pods', '', 'pod', 'watch of pods in all namespaces: forbidden (403)'],
    [
      'list',
      'services',
      'shop',
      'endpoints',
      'list of services in namespace shop: forbidden (403); a Role in namespace shop needs the rule {apiGroups: [""], resources: ["services"]',
    ],
    [
      'list',
      'endpointslices',
      '',
      'endpointslice',
      'list of endpointslices.discovery.k8s.io in all namespaces: forbidden (403); a ClusterRole needs the rule {apiGroups: ["discovery.k8s.io"]',
    ],
    ['list', 'ingresses', '', 'ingress', '{apiGroups: ["networking.k8s.io"], resources: ["ingresses"]'],
    ['list', 'nodes', '', 'node', 'list of nodes in all namespaces: forbidden (403)'],
  ] as const)('%s of %s in %j is forbidden', async (verb, resource, namespace, role, said) => {
    const api = await startApi();
    api.refuse = (request) =>
      request.verb === verb && request.resource === resource
        ? { status: 403, message: `User "x" cannot ${verb} resource` }
        : undefined;
    const within = namespace === '' ? '' : `, namespaces: {names: [${namespace}]}`;
    const discovery = await createRig().start(`{role: ${role}, api_server: "${api.url}"${within}}`);
    await waitFor('the problem', async () => discovery.problems().some((problem) => problem.includes(said)), {
      describe: () => discovery.problems().join('\n'),
    });
    expect(discovery.problems()[0]).toContain(`(User "x" cannot ${verb} resource)`);
    // The permission comes: no restart is needed.
    api.refuse = () => undefined;
    await waitFor('the recovery', async () => discovery.problems().length === 0);
  });

  test('429 with Retry-After is heeded', async () => {
    const api = await startApi();
    let refused = 0;
    api.refuse = () => (++refused === 1 ? { status: 429, retryAfterSeconds: 2 } : undefined);
    const discovery = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    expect(discovery.problems()[0]).toContain('the API server is busy (429)');
    const before = performance.now();
    await settled(discovery, '10.0.0.1:80');
    expect(performance.now() - before).toBeGreaterThan(1_900);
  });
});

describe('following changes', () => {
  test('lists come in pages; one that grows too old in between is begun anew', async () => {
    const api = await KubernetesApi.start();
    const names = Array.from({ length: 1_201 }, (_, i) => i);
    api.put('pods', ...names.map((i) => pod(`p${i}`, `10.1.${i >> 8}.${i & 255}`)));
    let isCompacted = false;
    api.refuse = ({ query }) => {
      if (query.has('continue') && !isCompacted) {
        isCompacted = true;
        api.compact();
      }
      return undefined;
    };
    const discovery = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    await waitFor('all pods', async () => discovery.groups().length === 1_201);
    const lists = api.requests.filter(({ verb }) => verb === 'list');
    expect(lists.map(({ query }) => query.has('continue'))).toEqual([false, true, false, true, true]);
    expect(lists.every(({ query }) => query.get('limit') === '500')).toBe(true);
  });

  test('a broken stream goes on from the last version, a bookmark included; 410 is listed again', async () => {
    const api = await startApi({ bookmarkMs: 3_600_000 });
    const discovery = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    await waitFor('the watch', async () => api.watchCount === 1);
    api.put('pods', pod('b', '10.0.0.2'));
    await settled(discovery, '10.0.0.1:80', '10.0.0.2:80');
    api.put('nodes', { metadata: { name: 'n' } });
    api.bookmark();
    // Version 1000 is before the first object.
    const version = 1_003;
    api.endWatches();
    await waitFor(
      'the next watch',
      async () => api.requests.at(-1)!.query.get('resourceVersion') === String(version),
    );
    expect(api.requests.filter(({ verb }) => verb === 'list')).toHaveLength(1);

    await waitFor('the watch', async () => api.watchCount === 1);
    api.remove('pods', 'a', 'shop');
    api.breakWatches();
    api.compact();
    api.put('pods', pod('c', '10.0.0.3'));
    await settled(discovery, '10.0.0.2:80', '10.0.0.3:80');
    expect(api.requests.filter(({ verb }) => verb === 'list').length).toBeGreaterThanOrEqual(1);
    expect(discovery.problems()).toEqual([]);
  });

  test('what it found stays while the server is away, and is right when it is back', async () => {
    const api = await startApi();
    const discovery = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    api.refuse = () => ({ status: 503 });
    api.endWatches();
    await waitFor('the problem', async () => discovery.problems().length > 0);
    api.remove('pods', 'a', 'shop');
    api.put('pods', pod('b', '10.0.0.2'));
    expect(targetsOf(discovery)).toEqual(['10.0.0.1:80']);
    api.refuse = () => undefined;
    await settled(discovery, '10.0.0.2:80');
    expect(discovery.problems()).toEqual([]);
  });

  test('a server that answers slowly does not hold up the start for ever', async () => {
    const api = await startApi();
    api.delayMs = 700;
    const discovery = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    expect(targetsOf(discovery)).toEqual(['10.0.0.1:80']);
  });

  test('one watch serves all that need the same, and lives on over a reload', async () => {
    const api = await startApi();
    const rig = createRig();
    const item = `{role: pod, api_server: "${api.url}"}`;
    const first = await rig.start(item);
    const second = await rig.start(item);
    const third = await rig.start(`{role: endpoints, api_server: "${api.url}"}`);
    await rig.start(`{role: pod, api_server: "${api.url}", selectors: [{role: pod, label: "x=y"}]}`);
    expect(rig.hub.size).toBe(4);
    await waitFor('the watches', async () => api.watchCount === 4);
    await Promise.all([first.stop(), second.stop(), third.stop()]);
    const again = await rig.start(item);
    expect(targetsOf(again)).toEqual(['10.0.0.1:80']);
    const lists = api.requests.filter(({ verb, resource }) => verb === 'list' && resource === 'pods');
    expect(lists).toHaveLength(2);
    const text = await rig.registry.metrics();
    expect(text).toContain('tidemark_discovery_kubernetes_objects{resource="pods"} 1');
    expect(text).toContain('tidemark_discovery_kubernetes_watches{resource="pods",state="working"} 2');
  });

  test('a change that makes no label changes no group', async () => {
    const api = await startApi();
    const discovery = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    await waitFor('the watch', async () => api.watchCount === 1);
    const before = discovery.groups()[0];
    const same = pod('a', '10.0.0.1');
    api.put('pods', { ...same, status: { ...(same.status as object), startTime: 'now' } });
    api.put('pods', pod('z', '10.0.0.9'));
    await settled(discovery, '10.0.0.1:80', '10.0.0.9:80');
    expect(discovery.groups()[0]).toBe(before);
  });

  test('lines that are no events are an error, not an end', async () => {
    const api = await startApi();
    const discovery = await createRig().start(`{role: pod, api_server: "${api.url}"}`);
    await waitFor('the watch', async () => api.watchCount === 1);
    api.writeToWatches('null\n{"type":"ADDED"}\n');
    await waitFor(
      'the problem',
      async () => discovery.problems()[0]?.includes('a line is not an event') === true,
    );
    api.put('pods', pod('b', '10.0.0.2'));
    await settled(discovery, '10.0.0.1:80', '10.0.0.2:80');
  });
});
