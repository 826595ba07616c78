// The chart as helm renders it: every values file of ci/, what must be refused, and the laws that join its objects. What boots from it
// is in chart-boot.nats.test.ts.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { parseRuleFile } from '../../services/lib/rules/rule-file.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { readDockerfile } from '../support/dockerfile.ts';
import { chartFolder, hasHelm, lint, type Manifest, render, template } from '../support/helm.ts';
import { knownEnvironment, refusalOf, SERVICES } from '../support/service-command.ts';

const runs = hasHelm();
const known = runs ? knownEnvironment() : new Set<string>();
const VALUES = readdirSync(path.join(chartFolder, 'ci')).map((name) => [
  name,
  readFileSync(path.join(chartFolder, 'ci', name), 'utf8'),
]) as [string, string][];

const of = (manifests: readonly Manifest[], ...kinds: readonly string[]): readonly Manifest[] =>
  manifests.filter((one) => kinds.includes(one.kind));
const workloads = (manifests: readonly Manifest[]): readonly Manifest[] =>
  of(manifests, 'StatefulSet', 'Deployment');
const component = (one: Manifest): string => one.metadata.labels['app.kubernetes.io/component']!;
const tidemark = (manifests: readonly Manifest[]): readonly Manifest[] =>
  workloads(manifests).filter((one) => component(one) !== 'nats');

/** Whether the selector picks pods with these labels. */
function selects(
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

describe.skipIf(!runs).each(VALUES)('%s', (name, values) => {
  const manifests = runs ? render(values) : [];

  test('passes helm lint --strict', () => {
    expect(lint('--values', path.join(chartFolder, 'ci', name))).toMatchObject({ status: 0 });
  });

  test('renders every service, each in the namespace and with the labels of the release', () => {
    expect(new Set(tidemark(manifests).map(component))).toEqual(new Set(SERVICES));
    const names = manifests.map((one) => `${one.kind}/${one.metadata.name}`);
    expect(names).toEqual([...new Set(names)]);
    for (const { kind, metadata } of manifests) {
      if (!kind.startsWith('Cluster')) expect(metadata.namespace, metadata.name).toBe('metrics');
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/instance': 'tm',
        'app.kubernetes.io/part-of': 'tidemark',
        'app.kubernetes.io/managed-by': 'Helm',
      });
    }
  });

  test('selectors pick their own pods and no others', () => {
    for (const workload of workloads(manifests)) {
      const selector = workload.spec.selector.matchLabels;
      const picked = workloads(manifests).filter((other) =>
        selects(selector, other.spec.template.metadata.labels),
      );
      expect(picked.map((one) => one.metadata.name)).toEqual([workload.metadata.name]);
    }
    for (const one of of(manifests, 'Service', 'PodDisruptionBudget')) {
      const selector = one.spec.selector.matchLabels ?? one.spec.selector;
      const picked = workloads(manifests).filter((other) =>
        selects(selector, other.spec.template.metadata.labels),
      );
      expect(picked.length, `${one.kind} ${one.metadata.name}`).toBeGreaterThan(0);
      for (const other of picked) expect(component(other)).toBe(component(one));
    }
  });

  test('services, probes and ingress name ports that containers have', () => {
    for (const service of of(manifests, 'Service')) {
      const [workload] = workloads(manifests).filter((one) =>
        selects(service.spec.selector, one.spec.template.metadata.labels),
      );
      const ports = workload!.spec.template.spec.containers[0].ports.map(
        (port: { name: string }) => port.name,
      );
      for (const port of service.spec.ports) expect(ports).toContain(port.targetPort);
    }
    for (const workload of workloads(manifests)) {
      const [container] = workload.spec.template.spec.containers;
      const ports = container.ports.map((port: { name: string }) => port.name);
      for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
        expect(ports, workload.metadata.name).toContain(container[probe].httpGet.port);
      }
      expect(ports).toEqual([...new Set(ports)]);
      const names = container.env.map((variable: { name: string }) => variable.name);
      expect(names).toEqual([...new Set(names)]);
    }
    for (const ingress of of(manifests, 'Ingress')) {
      for (const rule of ingress.spec.rules) {
        for (const { backend } of rule.http.paths) {
          const service = of(manifests, 'Service').find((one) => one.metadata.name === backend.service.name)!;
          expect(service.spec.ports.map((port: { name: string }) => port.name)).toContain(
            backend.service.port.name,
          );
        }
      }
    }
  });

  test('stateful sets have their headless service, volumes their mounts, and nothing is mounted that is not there', () => {
    for (const set of of(manifests, 'StatefulSet')) {
      const service = of(manifests, 'Service').find((one) => one.metadata.name === set.spec.serviceName)!;
      expect(service.spec.clusterIP).toBe('None');
      expect(set.spec.podManagementPolicy).toBe('Parallel');
    }
    for (const workload of workloads(manifests)) {
      const { volumes, containers } = workload.spec.template.spec;
      const claims = workload.spec.volumeClaimTemplates ?? [];
      const there: string[] = [
        ...volumes.map((one: { name: string }) => one.name),
        ...claims.map((one: Manifest) => one.metadata.name),
      ];
      const mounted: string[] = containers[0].volumeMounts.map((one: { name: string }) => one.name);
      expect(mounted.toSorted(), workload.metadata.name).toEqual(there.toSorted());
      for (const volume of volumes) {
        if (volume.configMap === undefined) continue;
        expect(of(manifests, 'ConfigMap').map((one) => one.metadata.name)).toContain(volume.configMap.name);
      }
    }
  });

  test('pods run as nobody in particular, on a root that they cannot write to', () => {
    const specs = [
      ...workloads(manifests).map((one) => one.spec.template.spec),
      ...of(manifests, 'Pod').map((one) => one.spec),
    ];
    for (const spec of specs) {
      expect(spec.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(spec.enableServiceLinks).toBe(false);
      for (const container of spec.containers) {
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
        expect(container.resources.requests).toBeDefined();
        expect(container.resources.limits.memory).toBeDefined();
        expect(container.image).not.toMatch(/(:latest|:)$/);
      }
    }
    const { user } = readDockerfile();
    for (const one of tidemark(manifests)) {
      const { runAsUser, runAsGroup } = one.spec.template.spec.securityContext;
      expect(`${runAsUser}:${runAsGroup}`).toBe(user);
    }
  });

  test('only the scraper has a token, its role may only read, and its account exists', () => {
    for (const one of tidemark(manifests)) {
      const { serviceAccountName, automountServiceAccountToken } = one.spec.template.spec;
      expect(automountServiceAccountToken).toBe(component(one) === 'scraper');
      expect(of(manifests, 'ServiceAccount').map((account) => account.metadata.name)).toContain(
        serviceAccountName,
      );
    }
    const [role] = of(manifests, 'Role', 'ClusterRole');
    for (const rule of role!.rules) {
      for (const verb of rule.verbs) expect(['get', 'list', 'watch']).toContain(verb);
    }
    const [binding] = of(manifests, 'RoleBinding', 'ClusterRoleBinding');
    expect(binding!.roleRef).toMatchObject({ kind: role!.kind, name: role!.metadata.name });
    const scraper = tidemark(manifests).find((one) => component(one) === 'scraper')!;
    expect(binding!.subjects[0]).toMatchObject({
      name: scraper.spec.template.spec.serviceAccountName,
      namespace: 'metrics',
    });
  });

  test('an autoscaled workload has no replicas of its own', () => {
    const scaled = of(manifests, 'HorizontalPodAutoscaler').map((one) => one.spec.scaleTargetRef.name);
    for (const one of of(manifests, 'Deployment')) {
      expect(one.spec.replicas === undefined, one.metadata.name).toBe(scaled.includes(one.metadata.name));
    }
  });

  test('pods are spread over zones and nodes', () => {
    for (const one of workloads(manifests)) {
      const keys = one.spec.template.spec.topologySpreadConstraints.map(
        (each: { topologyKey: string }) => each.topologyKey,
      );
      expect(keys).toEqual(['topology.kubernetes.io/zone', 'kubernetes.io/hostname']);
    }
  });

  test('every command line and variable is taken by the real main.ts', () => {
    for (const one of tidemark(manifests)) {
      const [container] = one.spec.template.spec.containers;
      const environment: Record<string, string> = {};
      for (const variable of container.env as { name: string; value?: string }[]) {
        if (variable.name !== 'POD_IP') expect(known).toContain(variable.name);
        environment[variable.name] = (variable.value ?? 'a').replace('$(POD_IP)', '10.0.0.1');
      }
      expect(refusalOf(container.args as string[], environment), one.metadata.name).toBe('');
    }
  });

  test('Tidemark takes the rendered configuration', () => {
    const config = of(manifests, 'ConfigMap').find((one) => one.data['prometheus.yml'] !== undefined)!;
    const { scrapeConfigs } = loadConfig(config.data['prometheus.yml'] as string, '/etc/tidemark', {
      environment: {},
    });
    expect(scrapeConfigs.length).toBeGreaterThan(3);
  });
});

const manifestNamed = (manifests: readonly Manifest[], kind: string, name: string): Manifest => {
  const found = manifests.find((one) => one.kind === kind && one.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
};
const argsOf = (one: Manifest): readonly string[] => one.spec.template.spec.containers[0].args as string[];
const envOf = (one: Manifest): Readonly<Record<string, string>> =>
  Object.fromEntries(
    (one.spec.template.spec.containers[0].env as { name: string; value?: string }[]).map(
      ({ name, value }) => [name, value ?? ''],
    ),
  );

describe.skipIf(!runs)('values', () => {
  test('three settings make an install: storage class, retention, replicas', () => {
    const manifests = render(
      '{global: {storageClass: fast}, retention: 40d, ingester: {replicas: 5}, store: {replicas: 4}}',
    );
    for (const set of of(manifests, 'StatefulSet')) {
      expect(set.spec.volumeClaimTemplates[0].spec.storageClassName).toBe('fast');
    }
    expect(manifestNamed(manifests, 'StatefulSet', 'tm-tidemark-ingester').spec.replicas).toBe(5);
    expect(manifestNamed(manifests, 'StatefulSet', 'tm-tidemark-store').spec.replicas).toBe(4);
    for (const one of tidemark(manifests))
      expect(envOf(one).TIDEMARK_STORAGE_TSDB_RETENTION_TIME).toBe('40d');
  });

  test('monitors: chosen by labels and namespaces, and the role grants what they need', () => {
    const configOf = (manifests: readonly Manifest[]) =>
      loadConfig(
        of(manifests, 'ConfigMap').find((one) => one.data['prometheus.yml'] !== undefined)!.data[
          'prometheus.yml'
        ] as string,
        '/etc/tidemark',
        { environment: {} },
      ).monitors;
    const resourcesOf = (manifests: readonly Manifest[]) =>
      of(manifests, 'Role', 'ClusterRole')[0]!.rules.flatMap(
        ({ resources = [] }: { resources?: string[] }) => resources,
      );
    const plain = render();
    expect(configOf(plain)).toMatchObject({
      namespaces: [],
      serviceMonitors: '',
      scrapeConfigs: '',
      deniesFiles: false,
    });
    expect(resourcesOf(plain)).toContain('podmonitors');
    expect(resourcesOf(plain)).not.toContain('secrets');
    const narrow = render(
      '{monitors: {readSecrets: true, denyFileAccess: true}, rbac: {namespaced: true}, monitorSelectors: {podMonitor: {team: a, release: b}}}',
    );
    expect(configOf(narrow)).toMatchObject({
      namespaces: ['metrics'],
      serviceMonitors: '',
      podMonitors: 'release=b,team=a',
      deniesFiles: true,
    });
    expect(resourcesOf(narrow)).toContain('secrets');
    const none = render('{monitors: {enabled: false}}');
    expect(configOf(none)).toBeUndefined();
    expect(resourcesOf(none)).not.toContain('servicemonitors');
  });

  test('there are never more copies than there are replicas', () => {
    const one = render(VALUES.find(([name]) => name === 'one-replica-values.yaml')![1]);
    const args = argsOf(manifestNamed(one, 'StatefulSet', 'tm-tidemark-ingester'));
    expect(args).toContain('--cluster.replication-factor=1');
    expect(args).toContain('--store.replication-factor=1');
    const zones = render(
      '{ingester: {replicas: 1, zones: [{name: a, topology: za}, {name: b, topology: zb}, {name: c, topology: zc}]}}',
    );
    const zone = manifestNamed(zones, 'StatefulSet', 'tm-tidemark-ingester-b');
    expect(argsOf(zone)).toContain('--cluster.replication-factor=3');
    expect(envOf(zone).TIDEMARK_CLUSTER_ZONE).toBe('b');
    expect(zone.spec.template.spec.nodeSelector).toEqual({ 'topology.kubernetes.io/zone': 'zb' });
  });

  test('with a NATS of your own the chart brings none, and its secrets are mounted, not rendered', () => {
    const manifests = render(VALUES.find(([name]) => name === 'external-nats-values.yaml')![1]);
    expect(manifests.filter((one) => component(one) === 'nats')).toEqual([]);
    const gateway = manifestNamed(manifests, 'Deployment', 'tm-tidemark-gateway');
    expect(envOf(gateway)).toMatchObject({
      TIDEMARK_NATS_URL: 'tls://nats-a.messaging:4222,tls://nats-b.messaging:4222',
      TIDEMARK_NATS_PASSWORD_FILE: '/etc/tidemark-nats/password',
      TIDEMARK_NATS_TLS_KEY_FILE: '/etc/tidemark-nats-tls/tls.key',
    });
    expect(gateway.spec.template.spec.volumes).toContainEqual({
      name: 'nats',
      secret: { secretName: 'nats-login' },
    });
    expect(of(manifests, 'Secret')).toEqual([]);
  });

  test('certificates are a Secret of your own or cert-manager makes them; without them plaintext is chosen in so many words', () => {
    const named = (values: string) => manifestNamed(render(values), 'Deployment', 'tm-tidemark-gateway');
    const plain = envOf(named('{}'));
    expect(plain).toMatchObject({ TIDEMARK_CLUSTER_INSECURE: 'true' });
    expect(Object.keys(plain).filter((name) => name.includes('CLUSTER_TLS'))).toEqual([]);
    const own = named('{tls: {enabled: true, existingSecret: mine, peerName: tm.example}}');
    expect(envOf(own)).toMatchObject({
      TIDEMARK_CLUSTER_TLS_CERT_FILE: '/etc/tidemark-tls/tls.crt',
      TIDEMARK_CLUSTER_TLS_PEER_NAME: 'tm.example',
    });
    expect(envOf(own)).not.toHaveProperty('TIDEMARK_CLUSTER_INSECURE');
    expect(own.spec.template.spec.volumes).toContainEqual({ name: 'tls', secret: { secretName: 'mine' } });
    const made = render('{tls: {enabled: true, issuerRef: {name: authority, kind: Issuer}}}');
    const certificate = manifestNamed(made, 'Certificate', 'tm-tidemark-tls');
    expect(certificate.spec).toMatchObject({
      secretName: 'tm-tidemark-tls',
      dnsNames: ['tidemark'],
      issuerRef: { name: 'authority', kind: 'Issuer' },
    });
    expect(certificate.spec.usages).toEqual(expect.arrayContaining(['server auth', 'client auth']));
  });

  test('alerts about itself stand beside the groups that are given, unless they are switched off', () => {
    const rulesOf = (values: string): string => {
      const maps = render(values).filter(({ kind }) => kind === 'ConfigMap');
      const text = maps.map(
        (map) => (map as unknown as { data?: Record<string, string> }).data?.['rules.yml'],
      );
      return text.find((each) => each !== undefined) ?? '';
    };
    const mine = 'ruleGroups: [{name: mine, rules: [{record: a, expr: b}]}]';
    const both = rulesOf(`{${mine}}`);
    const groups = parseRuleFile(both, {
      ...{ file: 'rules.yml', features: DEFAULT_FEATURES, nameValidation: 'utf8' },
    });
    expect(groups[0]!.name).toBe('mine');
    expect(groups.length).toBeGreaterThan(5);
    expect(both).toContain('{{ $labels.instance }} does not reach NATS');
    expect(rulesOf(`{${mine}, alerts: {enabled: false}}`)).not.toContain('tidemark-writes');
    expect(rulesOf('{alerts: {enabled: false}}')).toBe('');
  });

  test('object storage concerns stores alone, and its keys are mounted', () => {
    const values =
      '{objectStorage: {bucket: abc, endpoint: "http://minio:9000", existingSecret: keys, sessionToken: true, localAge: 7d}}';
    const manifests = render(values);
    const store = manifestNamed(manifests, 'StatefulSet', 'tm-tidemark-store');
    expect(argsOf(store)).toEqual(
      expect.arrayContaining([
        '--objstore.bucket=abc',
        '--objstore.endpoint=http://minio:9000',
        '--objstore.session-token-file=/etc/tidemark-objstore/session-token',
        '--objstore.local-age=7d',
        '--objstore.cache-size=10GB',
      ]),
    );
    expect(store.spec.template.spec.volumes).toContainEqual({
      name: 'objstore',
      secret: { secretName: 'keys' },
    });
    for (const one of tidemark(manifests).filter((each) => component(each) !== 'store'))
      expect(JSON.stringify(one.spec.template)).not.toContain('objstore');
  });

  test('a change of the configuration restarts the pods that read it, and no others', () => {
    const before = render();
    const after = render('{alertmanagers: ["am:9093"]}');
    const changed = tidemark(after)
      .filter((one) => {
        const old = manifestNamed(before, one.kind, one.metadata.name);
        return JSON.stringify(old.spec.template) !== JSON.stringify(one.spec.template);
      })
      .map(component);
    expect(changed.toSorted()).toEqual(['alert-evaluator', 'gateway', 'scraper']);
  });

  test('what cannot be changed on a stateful set does not depend on settings that change', () => {
    const before = render();
    const after = render(
      '{retention: 1y, ingester: {replicas: 9}, image: {tag: "2.0.0"}, alertmanagers: ["am:9093"]}',
      '--version',
      '9.9.9',
    );
    for (const set of of(after, 'StatefulSet')) {
      const old = manifestNamed(before, 'StatefulSet', set.metadata.name);
      for (const key of ['selector', 'serviceName', 'volumeClaimTemplates', 'podManagementPolicy']) {
        expect(set.spec[key], key).toEqual(old.spec[key]);
      }
    }
  });

  test.each([
    ['retention: soon', '/retention'],
    ['tls: {enabled: true}', 'tls.existingSecret'],
    ['objectStorage: {bucket: abc}', 'objectStorage.existingSecret'],
    ['objectStorage: {bucket: A_B}', '/objectStorage/bucket'],
    ['tls: {peerName: "a b"}', '/tls/peerName'],
    ['retention: 15', '/retention'],
    ['retentionSize: lots', '/retentionSize'],
    ['retentoin: 15d', 'retentoin'],
    ['ingester: {replicas: 0}', '/ingester/replicas'],
    ['ingester: {replicas: "3"}', '/ingester/replicas'],
    ['ingester: {replica: 3}', 'replica'],
    ['ingester: {zones: [{name: Zone A, topology: a}]}', '/ingester/zones/0/name'],
    ['ingester: {zones: [{name: a}]}', 'topology'],
    ['ingester: {autoscaling: {enabled: true}}', 'autoscaling'],
    ['querier: {persistence: {size: 1Gi}}', 'persistence'],
    ['store: {persistence: {size: 200 GB}}', '/store/persistence/size'],
    ['store: {persistence: {accessModes: []}}', '/store/persistence/accessModes'],
    ['store: {terminationGracePeriodSeconds: 5}', '/store/terminationGracePeriodSeconds'],
    ['cluster: {partitions: 0}', '/cluster/partitions'],
    ['cluster: {name: my cluster}', '/cluster/name'],
    ['cluster: {replicationFactor: 3.5}', '/cluster/replicationFactor'],
    ['log: {level: verbose}', '/log/level'],
    ['image: {digest: abc}', '/image/digest'],
    ['image: {pullPolicy: Sometimes}', '/image/pullPolicy'],
    ['nats: {replicas: 2}', '/nats/replicas'],
    ['{nats: {enabled: false}}', 'externalNats.servers'],
    ['{nats: {enabled: false}, externalNats: {servers: ["nats.example.com"]}}', '/externalNats/servers/0'],
    [
      '{nats: {enabled: false}, externalNats: {servers: ["nats://a:4222"], auth: token}}',
      '/externalNats/existingSecret',
    ],
    ['gateway: {service: {port: 70000}}', '/gateway/service/port'],
    ['gateway: {ingress: {enabled: true, hosts: [{host: a}]}}', 'paths'],
    ['gateway: {externalUrl: metrics.example.com}', '/gateway/externalUrl'],
    ['alertmanagers: ["http://am:9093"]', '/alertmanagers/0'],
    ['config: {scrape_configs: []}', '/config'],
    ['extraScrapeConfigs: [{static_configs: []}]', 'job_name'],
    ['defaults: {extraArgs: {"--query.timeout": 1m}}', '--query.timeout'],
    ['defaults: {resources: {requests: {memory: a lot}}}', '/defaults/resources/requests/memory'],
  ])('refuses %s', (values, named) => {
    const run = template(values);
    expect(run.status).not.toBe(0);
    expect(run.stderr).toContain(named);
  });
});
