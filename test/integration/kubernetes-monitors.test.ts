// Custom resources of Kubernetes without an operator: what they ask for is scraped, follows every change, and one that is wrong is told
// and harms nobody.
import { expect, test } from 'vitest';
import type { ApiObject } from '../support/kubernetes-api.ts';
import { type KubernetesScraper, sampled, startKubernetesScraper } from '../support/kubernetes-scraper.ts';
import { waitFor } from '../support/programs.ts';
import { startScrapeTarget } from '../support/scrape-target.ts';

const SECTION = (keys = ''): string => `tidemark: {kubernetes_monitors: {${keys}}}\n`;
const MINE = '  - {job_name: mine, static_configs: [{targets: []}]}\n';

function monitor(
  name: string,
  endpoint: object,
  more: object = {},
  labels: Record<string, string> = {},
): ApiObject {
  return {
    metadata: { name, namespace: 'shop', labels },
    spec: { selector: { matchLabels: { app: 'web' } }, endpoints: [endpoint], ...more },
  };
}

/** A service with one address, which is the target's. */
function putService(rig: KubernetesScraper, address: string): void {
  const [ip, port] = address.split(':');
  rig.api.put('services', {
    metadata: { name: 'web', namespace: 'shop', labels: { app: 'web', team: 'a' } },
  });
  rig.api.put('endpoints', {
    metadata: { name: 'web', namespace: 'shop' },
    subsets: [{ addresses: [{ ip }], ports: [{ name: 'http', port: Number(port), protocol: 'TCP' }] }],
  });
}

const problemsOf = async (rig: KubernetesScraper): Promise<string[]> =>
  (await rig.targets()).discoveryProblems.map(({ problem }) => problem);

const poolsOf = async (rig: KubernetesScraper): Promise<string[]> =>
  Object.keys((await rig.targets()).droppedCounts).toSorted();

test('a ServiceMonitor with credentials: scraped, followed, ended', async () => {
  const target = await startScrapeTarget('from_service 1\n');
  const rig = await startKubernetesScraper();
  putService(rig, target.address);
  rig.api.put('secrets', {
    metadata: { name: 'login', namespace: 'shop' },
    data: { user: btoa('me'), word: btoa('first') },
  });
  const basicAuth = { username: { name: 'login', key: 'user' }, password: { name: 'login', key: 'word' } };
  rig.api.put('servicemonitors', monitor('web', { port: 'http', basicAuth }, { targetLabels: ['team'] }));
  await rig.apply(MINE, SECTION());
  const labels = `endpoint="http", instance="${target.address}", job="web", namespace="shop", service="web"`;
  await sampled(rig, `from_service{${labels}, team="a"}`);
  expect(target.requests.at(-1)!.headers.authorization).toBe(`Basic ${btoa('me:first')}`);
  expect(await poolsOf(rig)).toEqual(['mine', 'serviceMonitor/shop/web/0']);
  expect(JSON.stringify(await rig.targets())).not.toContain('first');

  // The secret is replaced, and so is what the monitor asks for.
  rig.api.put('secrets', {
    metadata: { name: 'login', namespace: 'shop' },
    data: { user: btoa('me'), word: btoa('second') },
  });
  await waitFor(
    'the new password',
    async () => target.requests.at(-1)!.headers.authorization === `Basic ${btoa('me:second')}`,
  );
  rig.api.put(
    'servicemonitors',
    monitor('web', { port: 'http', basicAuth, relabelings: [{ targetLabel: 'x', replacement: 'y' }] }),
  );
  await sampled(rig, `from_service{${labels}, x="y"}`);
  rig.api.remove('servicemonitors', 'web', 'shop');
  await waitFor(
    'the end',
    async () => rig.distributor.series(`from_service{${labels}, x="y"}`).at(-1)?.stale === true,
  );
  expect(await poolsOf(rig)).toEqual(['mine']);
});

test('PodMonitor, Probe and ScrapeConfig', async () => {
  const target = await startScrapeTarget('it 1\n');
  const [ip, port] = target.address.split(':');
  const rig = await startKubernetesScraper();
  rig.api.put('pods', {
    metadata: { name: 'p1', namespace: 'shop', labels: { app: 'web' } },
    spec: { containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort: Number(port) }] }] },
    status: { podIP: ip, phase: 'Running' },
  });
  rig.api.put('podmonitors', {
    metadata: { name: 'pods', namespace: 'shop' },
    spec: { selector: { matchLabels: { app: 'web' } }, podMetricsEndpoints: [{ port: 'http' }] },
  });
  rig.api.put('probes', {
    metadata: { name: 'probe', namespace: 'shop' },
    spec: {
      prober: { url: target.address },
      module: 'http_2xx',
      targets: { staticConfig: { static: ['example.com'] } },
    },
  });
  rig.api.put('scrapeconfigs', {
    metadata: { name: 'direct', namespace: 'shop' },
    spec: { staticConfigs: [{ targets: [target.address], labels: { how: 'static' } }] },
  });
  await rig.apply('', SECTION());
  await sampled(
    rig,
    `it{container="c", endpoint="http", instance="${target.address}", job="shop/pods", namespace="shop", pod="p1"}`,
  );
  await sampled(rig, 'it{instance="example.com", job="probe/shop/probe", namespace="shop"}');
  await sampled(rig, `it{how="static", instance="${target.address}", job="scrapeConfig/shop/direct"}`);
  expect(target.requests.some(({ url }) => url === '/probe?module=http_2xx&target=example.com')).toBe(true);
  expect(await problemsOf(rig)).toEqual([]);
});

test('what is wrong is told with object, field and remedy; the rest goes on', async () => {
  const target = await startScrapeTarget('a 1\n');
  const rig = await startKubernetesScraper();
  putService(rig, target.address);
  rig.api.put(
    'servicemonitors',
    monitor('good', { port: 'http' }),
    monitor('duration', { port: 'http', interval: 'soon' }),
    monitor('regex', { port: 'http', relabelings: [{ action: 'keep', regex: '(' }] }),
    monitor('no-secret', { port: 'http', authorization: { credentials: { name: 'none', key: 'k' } } }),
    monitor('no-key', { port: 'http', bearerTokenSecret: { name: 'some', key: 'k' } }),
    monitor(
      'operator',
      { port: 'http' },
      { selector: { matchExpressions: [{ key: 'a', operator: 'Like' }] } },
    ),
    monitor('class', { port: 'http' }, { scrapeClass: 'istio' }),
    monitor('file', { port: 'http', bearerTokenFile: '/var/run/token' }),
  );
  rig.api.put('secrets', { metadata: { name: 'some', namespace: 'shop' }, data: { other: btoa('x') } });
  rig.api.put('scrapeconfigs', {
    metadata: { name: 'cloud', namespace: 'shop' },
    spec: { ec2SDConfigs: [{ region: 'eu-1' }] },
  });
  await rig.apply('', SECTION('deny_file_access: true'));
  await sampled(
    rig,
    `a{endpoint="http", instance="${target.address}", job="web", namespace="shop", service="web"}`,
  );
  await waitFor('all problems', async () => (await problemsOf(rig)).length === 8, {
    describe: () => 'see the test',
  });
  const problems = (await problemsOf(rig)).toSorted();
  const expected = [
    /^ScrapeConfig shop\/cloud: ec2SDConfigs: is not run by this version; use staticConfigs, /,
    /^ServiceMonitor shop\/class: endpoints\[0\]\.scrapeClass: "istio" is not known/,
    /^ServiceMonitor shop\/duration: endpoints\[0\]\.scrape_interval: .*soon/,
    /^ServiceMonitor shop\/file: endpoints\[0\]\.bearerTokenFile: names a file, which .*; use a secret$/,
    /^ServiceMonitor shop\/no-key: endpoints\[0\]\.bearerTokenSecret: Secret shop\/some has no key "k"$/,
    /^ServiceMonitor shop\/no-secret: endpoints\[0\]\.authorization\.credentials: there is no Secret shop\/none$/,
    /^ServiceMonitor shop\/operator: endpoints\[0\]\.selector\.matchExpressions\[0\]\.operator: "Like" is not known; use In/,
    /^ServiceMonitor shop\/regex: endpoints\[0\]\.relabel_configs\[\d+\]\.regex: /,
  ];
  for (const [i, problem] of problems.entries()) expect(problem).toMatch(expected[i]!);

  // Repaired while running: the secret comes.
  rig.api.put('secrets', { metadata: { name: 'none', namespace: 'shop' }, data: { k: btoa('tok') } });
  await waitFor('the bearer token', async () =>
    target.requests.some(({ headers }) => headers.authorization === 'Bearer tok'),
  );
  expect(await problemsOf(rig)).toHaveLength(7);
});

test('selectors choose monitors by their labels and those of their namespace; a missing permission is named', async () => {
  const target = await startScrapeTarget('a 1\n');
  const rig = await startKubernetesScraper();
  putService(rig, target.address);
  rig.api.put(
    'namespaces',
    { metadata: { name: 'shop', labels: { team: 'a' } } },
    { metadata: { name: 'other', labels: { team: 'b' } } },
  );
  rig.api.put(
    'servicemonitors',
    monitor('yes', { port: 'http' }, {}, { scrape: 'tidemark' }),
    monitor('no', { port: 'http' }),
    {
      metadata: { name: 'far', namespace: 'other', labels: { scrape: 'tidemark' } },
      spec: { endpoints: [{ port: 'x' }] },
    },
  );
  rig.api.refuse = ({ resource }) => {
    if (resource === 'podmonitors') return { status: 403, message: 'no' };
    return resource === 'probes'
      ? { status: 404, message: 'the server could not find the requested resource' }
      : undefined;
  };
  const keys =
    'namespace_selector: "team=a", service_monitors: {selector: "scrape=tidemark"}, scrape_configs: {enabled: false}';
  await rig.apply(MINE, SECTION(keys));
  await waitFor('the problem', async () => (await problemsOf(rig)).length > 0);
  // Nothing is taken over before all kinds are known: half of the monitors would end the series of the others.
  expect(await poolsOf(rig)).toEqual(['mine']);
  expect(await problemsOf(rig)).toEqual([
    'Kubernetes: list of podmonitors.monitoring.coreos.com in all namespaces: forbidden (403); a ClusterRole needs the rule {apiGroups: ["monitoring.coreos.com"], resources: ["podmonitors"], verbs: ["get", "list", "watch"]} (no)',
  ]);
  rig.api.refuse = ({ resource }) => (resource === 'probes' ? { status: 404 } : undefined);
  await waitFor('the chosen monitor', async () => (await poolsOf(rig)).length === 2);
  expect(await poolsOf(rig)).toEqual(['mine', 'serviceMonitor/shop/yes/0']);
  expect(rig.api.requests.some(({ resource }) => resource === 'scrapeconfigs')).toBe(false);
  await rig.apply(MINE);
  expect(await poolsOf(rig)).toEqual(['mine']);
});
