// The scraper in a cluster, from discovery to samples: the jobs of Prometheus' own documents, as they stand there, and the pods that
// carry annotations. The scripted API server is its nodes' kubelet as well.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import type { KubernetesApi } from '../support/kubernetes-api.ts';
import { ACCOUNT, sampled, startKubernetesScraper } from '../support/kubernetes-scraper.ts';
import { waitFor } from '../support/programs.ts';
import { startScrapeTarget } from '../support/scrape-target.ts';
import { hasShared, sharedPath } from '../support/shared.ts';

const DOCUMENT = 'prometheus+prometheus/documentation/examples/prometheus-kubernetes.yml';
const VALUES = 'prometheus-community+helm-charts/charts/prometheus/values.yaml';
const isPresent =
  hasShared('conformance', 'configs', DOCUMENT) && hasShared('conformance', 'configs', VALUES);

/** The jobs of that name, text as it stands in the document. */
function jobsOf(document: string, names: readonly string[]): string {
  const text = readFileSync(sharedPath('conformance', 'configs', document), 'utf8');
  const jobs = text.split(/^(?= *- job_name:)/m);
  const found = names.map((name) =>
    jobs.find((job) => new RegExp(`^ *- job_name: ["']?${name}["']?$`, 'm').test(job)),
  );
  expect(found.every((job) => job !== undefined)).toBe(true);
  return found.map((job) => indented(job!)).join('');
}

/** At the depth of `scrape_configs`, without what follows the job. */
function indented(job: string): string {
  const depth = /^ */.exec(job)![0].length;
  const lines = job.split('\n');
  const end = lines.findIndex(
    (line, i) => i > 0 && /\S/.test(line) && !line.startsWith(' '.repeat(depth + 1)) && !/^ *#/.test(line),
  );
  const own = (end < 0 ? lines : lines.slice(0, end)).filter((line) => !/^ *#/.test(line));
  return `${own.map((line) => `  ${line.slice(depth)}`).join('\n')}\n`;
}

/** A job of the Prometheus chart's values, as the chart renders it. */
function chartJob(name: string): string {
  const values = parse(readFileSync(sharedPath('conformance', 'configs', VALUES), 'utf8')) as {
    scrapeConfigs: Record<string, { enabled: boolean } & Record<string, unknown>>;
  };
  const { enabled: _, ...job } = values.scrapeConfigs[name]!;
  return stringify([{ ...job, job_name: name }]);
}

function putNode(api: KubernetesApi, name: string): void {
  api.put('nodes', {
    metadata: { name, labels: { 'kubernetes.io/arch': 'arm64' } },
    status: {
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: Number(new URL(api.url).port) } },
    },
  });
}

test.skipIf(!isPresent)(
  "the kubelet and API server jobs of Prometheus' documents run as they stand there",
  async () => {
    const rig = await startKubernetesScraper();
    const { api } = rig;
    const { host, port } = new URL(api.url);
    putNode(api, 'n1');
    api.pages.set('/metrics', 'kubelet_up 1\n');
    api.pages.set('/metrics/cadvisor', 'container_up 1\n');
    api.put('services', { metadata: { name: 'kubernetes', namespace: 'default' } });
    api.put('endpoints', {
      metadata: { name: 'kubernetes', namespace: 'default' },
      subsets: [
        { addresses: [{ ip: '127.0.0.1' }], ports: [{ name: 'https', port: Number(port), protocol: 'TCP' }] },
      ],
    });
    await rig.apply(jobsOf(DOCUMENT, ['kubernetes-apiservers', 'kubernetes-nodes', 'kubernetes-cadvisor']));
    const node = 'instance="n1", job="kubernetes-nodes", kubernetes_io_arch="arm64"';
    await sampled(rig, `up{${node}}`);
    await sampled(rig, `kubelet_up{${node}}`);
    await sampled(rig, 'container_up{instance="n1", job="kubernetes-cadvisor", kubernetes_io_arch="arm64"}');
    await sampled(rig, `up{instance="${host}", job="kubernetes-apiservers"}`);
  },
);

test("kubelets direct without verification, and through the API server's proxy", async () => {
  const rig = await startKubernetesScraper();
  const { api } = rig;
  putNode(api, 'n1');
  putNode(api, 'n2');
  api.pages.set('/metrics', 'direct 1\n');
  for (const name of ['n1', 'n2'])
    api.pages.set(`/api/v1/nodes/${name}/proxy/metrics`, `proxied{node="${name}"} 1\n`);
  await rig.apply(`
  - job_name: direct
    scheme: https
    tls_config: {insecure_skip_verify: true}
    bearer_token_file: ${ACCOUNT}/token
    kubernetes_sd_configs: [{role: node}]
  - job_name: proxied
    scheme: https
    tls_config: {ca_file: ${ACCOUNT}/ca.crt}
    bearer_token_file: ${ACCOUNT}/token
    kubernetes_sd_configs: [{role: node}]
    relabel_configs:
      - {action: labelmap, regex: __meta_kubernetes_node_label_(.+)}
      - {target_label: __address__, replacement: "${new URL(api.url).host}"}
      - {source_labels: [__meta_kubernetes_node_name], regex: (.+), target_label: __metrics_path__, replacement: "/api/v1/nodes/\${1}/proxy/metrics"}
`);
  for (const name of ['n1', 'n2']) {
    await sampled(rig, `direct{instance="${name}", job="direct"}`);
    await sampled(
      rig,
      `proxied{instance="${name}", job="proxied", kubernetes_io_arch="arm64", node="${name}"}`,
    );
  }
});

test.skipIf(!isPresent)(
  'pods with annotations; a pod that is gone ends its series, its address is the next pod’s',
  async () => {
    const rig = await startKubernetesScraper();
    const { api } = rig;
    const target = await startScrapeTarget('from_pod 1\n');
    const [, port] = target.address.split(':');
    const put = (name: string, annotations: Record<string, string>): void =>
      api.put('pods', {
        metadata: { name, namespace: 'shop', annotations, labels: { app: name } },
        spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 1 }] }] },
        status: { podIP: '127.0.0.1', phase: 'Running' },
      });
    put('web', { 'prometheus.io/scrape': 'true', 'prometheus.io/port': port! });
    put('quiet', {});
    await rig.apply(chartJob('kubernetes-pods'));
    const series = (name: string): string =>
      `from_pod{app="${name}", instance="${target.address}", job="kubernetes-pods", namespace="shop", node="n1", pod="${name}"}`;
    await sampled(rig, series('web'));

    api.remove('pods', 'web', 'shop');
    put('web-2', { 'prometheus.io/scrape': 'true', 'prometheus.io/port': port! });
    await sampled(rig, series('web-2'));
    await waitFor(
      'the end of the first',
      async () => rig.distributor.series(series('web')).at(-1)?.stale === true,
    );
    const { active, droppedCounts } = await rig.targets();
    expect(active.map(({ labels }) => labels.pod)).toEqual(['web-2']);
    expect(droppedCounts).toEqual({ 'kubernetes-pods': 1 });
  },
);
