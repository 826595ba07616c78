// Monitors against what prometheus-operator made of them: its golden configurations, each with a monitor that asks for that job. The
// operator's static sharding (steps about __tmp_hash) is left out: targets are shared out among scrapers here.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { jobsOf } from '../../services/lib/discovery/monitors/monitor-jobs.ts';
import type { JobContext, MonitorKind } from '../../services/lib/discovery/monitors/monitor-object.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { hasShared, sharedPath } from '../support/shared.ts';

const FOLDER = 'prometheus-operator+prometheus-operator/pkg/prometheus/testdata';
const MANIFESTS = 'prometheus-operator+kube-prometheus/manifests';
const isPresent = hasShared('conformance', 'configs', FOLDER, 'TargetLabels.golden');

const KINDS: Readonly<Record<string, MonitorKind>> = {
  serviceMonitor: 'ServiceMonitor',
  podMonitor: 'PodMonitor',
  probe: 'Probe',
  scrapeConfig: 'ScrapeConfig',
};

const web = (more: object = {}): object => ({ endpoints: [{ port: 'web', interval: '30s', ...more }] });
const podWeb = (more: object = {}): object => ({
  podMetricsEndpoints: [{ port: 'web', interval: '30s', ...more }],
});
const chosen = (value: string): object => ({ selector: { matchLabels: { group: value } } });
const secret = (key: string): object => ({ name: 'secret', key });
const PROBER = {
  prober: { url: 'blackbox.exporter.io', scheme: 'HTTP', path: '/probe' },
  module: 'http_2xx',
};
const STATIC = { static: ['prometheus.io', 'promcon.io'], labels: { namespace: 'custom', static: 'label' } };
const PROXY = {
  proxyUrl: 'http://no-proxy.com',
  noProxy: '0.0.0.0',
  proxyFromEnvironment: false,
  proxyConnectHeader: { header: [secret('value')] },
};
const NO_NOISE = { metricRelabelings: [{ regex: 'noisy_labels.*', action: 'labeldrop' }] };
const MOVE_PORT = {
  relabelings: [
    {
      action: 'Replace',
      sourceLabels: ['__address__'],
      targetLabel: '__address__',
      regex: '(.+)(?::d+)',
      replacement: '$1:9537',
    },
  ],
};

/** Golden → the specification of its monitor. Keys of secrets are their values. */
const CASES: Readonly<Record<string, object>> = {
  MatchExpressionsServiceMonitor: {
    ...web(),
    selector: { matchExpressions: [{ key: 'alpha', operator: 'In', values: ['beta', 'gamma'] }] },
  },
  EmptyEndpointPorts: { endpoints: [{}], selector: { matchLabels: { foo: 'bar' } } },
  PodTargetLabels: { ...web(), podTargetLabels: ['example', 'env'] },
  TargetLabels: { ...web(), targetLabels: ['example', 'env'] },
  'ServiceMonitorEndpointFollowRedirects_FollowRedirectFalse_v2.28.0': web({ followRedirects: false }),
  'ServiceMonitorEndpointEnableHttp2_EnableHTTP2True_v2.35.0': web({ enableHttp2: true }),
  SampleLimits_Limit2000: { ...web(), sampleLimit: 1000 },
  NativeHistogramConfigAlwaysScrapeClassicHistograms: {
    ...web(),
    nativeHistogramBucketLimit: 10,
    nativeHistogramMinBucketFactor: '12124m',
    scrapeClassicHistograms: true,
  },
  SettingScrapeFallbackProtocolInServiceMonitor_NewVersion: {
    ...web({ honorTimestamps: false }),
    targetLabels: ['example', 'env'],
    fallbackScrapeProtocol: 'OpenMetricsText0.0.1',
  },
  TestServiceMonitorWithEndpointSliceEnable_Expected: {
    ...web(),
    serviceDiscoveryRole: 'EndpointSlice',
    selector: {
      matchLabels: { foo: 'bar' },
      matchExpressions: [{ key: 'alpha', operator: 'In', values: ['beta', 'gamma'] }],
    },
  },
  ServiceMonitorObjectWithEndpointSliceSelectorAndMatchLabelSelector: {
    ...web(),
    ...chosen('group1'),
    serviceDiscoveryRole: 'EndpointSlice',
    selectorMechanism: 'RoleSelector',
  },
  ServiceMonitorObjectWithMatchExpressionSelector: {
    ...web(),
    selectorMechanism: 'RoleSelector',
    selector: { matchExpressions: [{ key: 'group', operator: 'In', values: ['group1'] }] },
  },
  PodMonitorPhaseFilter: { podMetricsEndpoints: [{ port: 'test', filterRunning: false }] },
  SettingHonorTimestampsInPodMonitor: {
    ...podWeb({ honorTimestamps: false }),
    podTargetLabels: ['example', 'env'],
  },
  SettingScrapeProtocolsInPodMonitor_NewVersion: {
    ...podWeb({ trackTimestampsStaleness: false }),
    podTargetLabels: ['example', 'env'],
    scrapeProtocols: ['OpenMetricsText1.0.0', 'OpenMetricsText0.0.1'],
  },
  PodMonitorObjectWithMatchLabelSelector: {
    ...podWeb(),
    ...chosen('group1'),
    selectorMechanism: 'RoleSelector',
  },
  'PodMonitorEndpointEnableHttp2_EnableHTTP2False_v2.35.0': podWeb({ enableHttp2: false }),
  ProbeStaticTargetsConfigGenerationWithJobName: {
    ...PROBER,
    jobName: 'blackbox',
    targets: { staticConfig: { static: ['prometheus.io', 'promcon.io'] } },
  },
  ProbeIngressSDConfigGeneration: {
    ...PROBER,
    targets: {
      ingress: {
        selector: { matchLabels: { 'prometheus.io/probe': 'true' } },
        namespaceSelector: { any: true },
        relabelingConfigs: [{ targetLabel: 'foo', replacement: 'bar', action: 'replace' }],
      },
    },
  },
  ScrapeConfigSpecConfig_Static: {
    staticConfigs: [{ targets: ['localhost:9100'], labels: { label1: 'value1' } }],
  },
  ScrapeConfigSpecConfig_HTTPSD_with_BasicAuth: {
    httpSDConfigs: [
      {
        url: 'http://localhost:9100/sd.json',
        basicAuth: { username: secret('kube-admin'), password: secret('password') },
      },
    ],
  },
  ScrapeConfigSpecConfig_K8SSD_with_Authorization: {
    kubernetesSDConfigs: [
      {
        apiServer: 'https://kubernetes.default.svc',
        role: 'Node',
        authorization: { credentials: secret('value') },
      },
    ],
  },
  ScrapeConfigSpecConfig_K8SSD_with_NamespaceDiscovery_and_OwnNamespace: {
    kubernetesSDConfigs: [{ role: 'Pod', namespaces: { names: ['ns1', 'ns2'], ownNamespace: true } }],
  },
  ScrapeConfigSpecConfig_K8SSD_with_AttachMetadata: {
    kubernetesSDConfigs: [{ role: 'Pod', attachMetadata: { node: true } }],
  },
  ScrapeConfigSpecConfig_DNSSD_ARecord: {
    dnsSDConfigs: [{ names: ['node.demo.do.prometheus.io'], type: 'A', port: 9100 }],
  },
  ConsulScrapeConfig: {
    consulSDConfigs: [
      {
        ...PROXY,
        server: 'localhost',
        tokenRef: secret('value'),
        datacenter: 'we1',
        namespace: 'observability',
        partition: '1',
        scheme: 'HTTPS',
        services: ['prometheus', 'alertmanager'],
        tags: ['tag1'],
        tagSeparator: ';',
        nodeMeta: { name: 'node_name', service: 'service_name' },
        allowStale: false,
        refreshInterval: '30s',
        followRedirects: true,
        enableHTTP2: true,
      },
    ],
  },
  ScrapeConfigSpecConfig_Limits: {
    sampleLimit: 10000,
    targetLimit: 1000,
    labelLimit: 50,
    labelNameLengthLimit: 40,
    labelValueLengthLimit: 30,
  },
  ScrapeConfigSpecConfig_NonEmptyRelabelConfig: MOVE_PORT,
  ScrapeConfigSpecConfig_WithJobNameAndRelabelConfig: {
    ...MOVE_PORT,
    jobName: 'explicit-test-scrape-config5',
  },
  ScrapeConfigSpecConfig_ScrapeProtocols: {
    scrapeProtocols: [
      'PrometheusProto',
      'OpenMetricsText1.0.0',
      'OpenMetricsText0.0.1',
      'PrometheusText0.0.4',
    ],
  },
  ScrapeConfigSpecConfig_WithOAuth: {
    oauth2: {
      clientId: { secret: secret('client-id') },
      clientSecret: secret('client-secret'),
      tokenUrl: 'http://test.url',
      scopes: ['scope 1', 'scope 2'],
      endpointParams: { param1: 'value1', param2: 'value2' },
    },
  },
  ScrapeConfigSpecConfig_ProxySettings: PROXY,
  ScrapeConfigSpecConfig_EnableCompression_False: { enableCompression: false },
  NameEscapingScheme_Dots: { nameEscapingScheme: 'Dots' },
  NameValidationScheme_legacy: { nameValidationScheme: 'Legacy' },
  ScrapeConfigSpecConfig_TrackTimestampsStaleness: { trackTimestampsStaleness: true },
};

/** The monitors of this golden are of all four kinds. */
const ALL_KINDS: Readonly<Record<string, object>> = {
  serviceMonitor: { ...web(), ...chosen('group1') },
  podMonitor: { ...podWeb(), ...chosen('group1') },
  probe: { ...PROBER, ...NO_NOISE, targets: { staticConfig: STATIC } },
  scrapeConfig: {
    httpSDConfigs: [
      {
        url: 'http://localhost:9100/sd.json',
        refreshInterval: '5m',
        proxyUrl: 'http://no-proxy.com',
        noProxy: '0.0.0.0',
        proxyFromEnvironment: false,
      },
    ],
  },
};

interface GoldenJob {
  readonly job_name: string;
  readonly relabel_configs: readonly object[];
}

function goldenJobs(name: string): readonly GoldenJob[] {
  const text = readFileSync(sharedPath('conformance', 'configs', FOLDER, `${name}.golden`), 'utf8');
  const { scrape_configs: jobs } = parse(text) as { scrape_configs: readonly GoldenJob[] };
  return jobs.map((job) => ({
    ...job,
    relabel_configs: job.relabel_configs.filter((step) => !JSON.stringify(step).includes('__tmp_hash')),
  }));
}

const contextOf = (namespace: string): JobContext => ({
  namespace,
  references: { read: (_kind, _namespace, _name, key) => key },
  serviceRole: 'endpoints',
  allowsFiles: true,
});

/** What we make of the monitor that the golden job is of. */
function ourJob(golden: GoldenJob, spec: object): object {
  const [kind, namespace, name] = golden.job_name.split('/') as [string, string, string];
  const monitor = { kind: KINDS[kind]!, namespace, name, spec: { ...spec } };
  const planned = jobsOf(monitor, contextOf(namespace)).find(({ jobName }) => jobName === golden.job_name);
  return planned!.build();
}

describe.skipIf(!isPresent)("prometheus-operator's goldens", () => {
  test.each(Object.entries(CASES))('%s', (name, spec) => {
    const [golden] = goldenJobs(name);
    expect(ourJob(golden!, spec)).toEqual(golden);
  });

  test('monitorObjectWithoutScrapeClass: one of each kind', () => {
    const jobs = goldenJobs('monitorObjectWithoutScrapeClass');
    expect(jobs).toHaveLength(4);
    for (const golden of jobs)
      expect(ourJob(golden, ALL_KINDS[golden.job_name.split('/')[0]!]!)).toEqual(golden);
  });
});

describe.skipIf(!isPresent)('the monitors of kube-prometheus', () => {
  test.each([
    ['kubernetesControlPlane-serviceMonitorKubelet', 4],
    ['kubernetesControlPlane-serviceMonitorApiserver', 1],
    ['kubernetesControlPlane-serviceMonitorCoreDNS', 1],
    ['kubernetesControlPlane-serviceMonitorKubeControllerManager', 1],
    ['kubernetesControlPlane-serviceMonitorKubeScheduler', 1],
    ['kubeStateMetrics-serviceMonitor', 2],
    ['nodeExporter-serviceMonitor', 1],
    ['alertmanager-serviceMonitor', 2],
    ['blackboxExporter-serviceMonitor', 1],
    ['grafana-serviceMonitor', 1],
    ['prometheus-serviceMonitor', 2],
    ['prometheusAdapter-serviceMonitor', 1],
    ['prometheusOperator-serviceMonitor', 1],
  ])('%s becomes jobs that load', (file, least) => {
    const text = readFileSync(sharedPath('conformance', 'configs', MANIFESTS, `${file}.yaml`), 'utf8');
    const { metadata, spec } = parse(text) as {
      metadata: { name: string; namespace: string };
      spec: Record<string, unknown>;
    };
    const monitor = { kind: 'ServiceMonitor' as const, ...metadata, spec };
    const jobs = jobsOf(monitor, contextOf(metadata.namespace)).map(({ build }) => build());
    expect(jobs.length).toBeGreaterThanOrEqual(least);
    const config = loadConfig(JSON.stringify({ scrape_configs: jobs }), '/');
    expect(config.scrapeConfigs.map(({ jobName }) => jobName)).toEqual(
      jobs.map(({ job_name: name }) => name),
    );
    expect(config.notices).toEqual([]);
  });
});
