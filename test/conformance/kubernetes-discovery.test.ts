// Discovery in Kubernetes against a real Prometheus 3.14: both are given the same configuration and the same API server, and must make
// the same targets with the same labels, at first and after objects have changed. No target is scraped: relabelling drops all.
import { readFileSync } from 'node:fs';
import { test } from 'vitest';
import { parse } from 'yaml';
import {
  DROP_ALL,
  expectSame,
  type Found,
  startOurs,
  startUpstream,
  UPSTREAM,
} from '../support/discovery-oracle.ts';
import { type ApiObject, KubernetesApi } from '../support/kubernetes-api.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { hasShared, sharedPath } from '../support/shared.ts';
import { pod, WORLD } from './kubernetes-world.ts';

const isRunnable = hasPrograms(UPSTREAM);
const RELAY = 'newrelic+nri-kubernetes/internal/testutil/data/1_35';
const hasRelay = hasShared('conformance', 'configs', RELAY, 'pods.yaml');

const ROLES = ['node', 'pod', 'service', 'endpoints', 'endpointslice', 'ingress'];
const ALL_METADATA = '{node: true, namespace: true, deployment: true, job: true, cronjob: true}';

/** Further keys of the items, by the job's name. */
const JOBS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(ROLES.map((role) => [role, `role: ${role}`])),
  ...Object.fromEntries(
    ROLES.map((role) => [`${role}-meta`, `role: ${role}, attach_metadata: ${ALL_METADATA}`]),
  ),
  ...Object.fromEntries(ROLES.map((role) => [`${role}-shop`, `role: ${role}, namespaces: {names: [shop]}`])),
  'two-namespaces': 'role: pod, namespaces: {names: [shop, ops]}, attach_metadata: {deployment: true}',
  'pod-label': 'role: pod, selectors: [{role: pod, label: "app=web"}]',
  'pod-field': 'role: pod, selectors: [{role: pod, field: "spec.nodeName=n1"}]',
  'pod-not': 'role: pod, selectors: [{role: pod, label: "app,app!=six", field: "status.phase!=Pending"}]',
  'pod-set': 'role: pod, selectors: [{role: pod, label: "app in (six, web)"}]',
  'pod-nodes': 'role: pod, attach_metadata: {node: true}, selectors: [{role: node, label: "role=worker"}]',
  'service-selected': 'role: service, selectors: [{role: service, label: "tier"}]',
  'endpoints-selected':
    'role: endpoints, selectors: [{role: endpoints, label: "app=web"}, {role: service, label: "none=such"}, {role: pod, label: "app=web"}]',
  'slices-selected':
    'role: endpointslice, selectors: [{role: endpointslice, field: "metadata.name=web-abc"}]',
  'ingress-selected': 'role: ingress, selectors: [{role: ingress, label: "app=web"}]',
  'node-field': 'role: node, selectors: [{role: node, field: "metadata.name!=n3"}]',
};

function configOf(server: string): string {
  const jobs = Object.entries(JOBS).map(
    ([name, keys]) =>
      `  - {job_name: ${name}, ${DROP_ALL}, kubernetes_sd_configs: [{api_server: "${server}", ${keys}}]}\n`,
  );
  return `scrape_configs:\n${jobs.join('')}`;
}

/** What happens to objects one after the other, in the hand-made world. */
function change(api: KubernetesApi): void {
  api.put('pods', pod('shop', 'web-3', { ip: '10.1.0.33', node: 'n2', more: { labels: { app: 'web' } } }));
  // The address of a pod that is gone is another's now.
  api.remove('pods', 'backup-x', 'ops');
  api.put('pods', pod('ops', 'reuses', { ip: '10.1.0.4', node: 'n3', phase: 'Failed' }));
  api.put(
    'pods',
    pod('shop', 'web-2', {
      ip: '10.1.0.2',
      node: 'n2',
      phase: 'Failed',
      more: { labels: { app: 'web', new: 'label' } },
    }),
  );
  api.put('namespaces', { metadata: { name: 'shop', labels: { team: 'c', more: 'm' } } });
  api.remove('nodes', 'n2');
  api.put('services', {
    ...WORLD.services![0]!,
    metadata: { ...WORLD.services![0]!.metadata, labels: { renamed: 'yes' } },
  });
  api.remove('ingresses', 'bare', 'ops');
  api.remove('endpoints', 'kubelet', 'ops');
  api.put('endpoints', {
    ...WORLD.endpoints![0]!,
    metadata: { ...WORLD.endpoints![0]!.metadata, labels: { app: 'web', v: '2' } },
  });
  api.put('endpointslices', {
    ...WORLD.endpointslices![0]!,
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 9090, protocol: 'TCP' }],
  });
}

test.skipIf(!isRunnable)(
  'all roles, with metadata, selectors and namespaces; then changes, 410 and broken watches',
  async () => {
    const api = await KubernetesApi.start();
    for (const [resource, objects] of Object.entries(WORLD)) api.put(resource, ...objects);
    const config = configOf(api.url);
    const [upstream, ours] = await Promise.all([startUpstream(config), startOurs(config)]);
    let compared = await expectSameTouched(api, upstream, ours, 'web-1', 'first');
    change(api);
    compared += await expectSameTouched(api, upstream, ours, 'web-3', 'once');
    api.breakWatches();
    api.compact();
    api.put('pods', pod('ops', 'after-410', { ip: '10.1.0.50', node: 'n1' }));
    api.failWatches(410);
    compared += await expectSameTouched(api, upstream, ours, 'after-410', 'again');
    console.info(`${compared} label sets are Prometheus' own`);
  },
  240_000,
);

/**
 * Prometheus sees most changes of a pod behind an address only when the endpoints change as well; Tidemark sees them all.
 */
function touchEndpoints(api: KubernetesApi, value: string): void {
  for (const resource of ['endpoints', 'endpointslices']) {
    for (const object of api.objects(resource)) {
      const annotations = { ...(object.metadata.annotations as object | undefined), touched: value };
      api.put(resource, { ...object, metadata: { ...object.metadata, annotations } });
    }
  }
}

/**
 * Both have found the pod, and then the same. Prometheus builds endpoints before it has listed replica sets and jobs, and does not
 * build them again when it has: they are touched until it does.
 */
async function expectSameTouched(
  api: KubernetesApi,
  upstream: () => Promise<Found>,
  ours: () => Promise<Found>,
  podName: string,
  sign: string,
): Promise<number> {
  await Promise.all([expectChanged(ours, podName), expectChanged(upstream, podName)]);
  for (let attempt = 1; ; attempt++) {
    touchEndpoints(api, `${sign}-${attempt}`);
    try {
      return await expectSame(upstream, ours, 200, [`${sign}-${attempt}`], attempt * 15_000);
    } catch (caught) {
      if (attempt === 3) throw caught;
    }
  }
}

async function expectChanged(found: () => Promise<Found>, podName: string): Promise<void> {
  await waitFor(`targets of ${podName}`, async () => JSON.stringify((await found()).pod).includes(podName), {
    timeoutMs: 60_000,
  });
}

test.skipIf(!isRunnable || !hasRelay)(
  'objects of a real cluster',
  async () => {
    const api = await KubernetesApi.start();
    for (const resource of ['namespaces', 'nodes', 'pods', 'services', 'endpoints']) {
      const text = readFileSync(sharedPath('conformance', 'configs', RELAY, `${resource}.yaml`), 'utf8');
      api.put(resource, ...(parse(text) as { items: ApiObject[] }).items);
    }
    const config = configOf(api.url);
    const [upstream, ours] = await Promise.all([startUpstream(config), startOurs(config)]);
    const compared = await expectSame(upstream, ours, 100);
    console.info(`${compared} label sets are Prometheus' own`);
  },
  240_000,
);
