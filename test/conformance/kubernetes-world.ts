// Objects of a cluster that meets every rule by which discovery makes labels of them: IPv6, init containers, pods without address or
// port, owners, odd characters, dual-stack slices, references to nodes, wildcard hosts.
import type { ApiObject } from '../support/kubernetes-api.ts';

export type World = Readonly<Record<string, readonly ApiObject[]>>;

const meta = (namespace: string, name: string, more: object = {}): ApiObject['metadata'] => ({
  namespace,
  name,
  uid: `uid-${namespace}-${name}`,
  ...more,
});

const owner = (kind: string, name: string) => ({
  ownerReferences: [
    { apiVersion: 'v1', kind: 'Thing', name: 'not-the-controller', uid: 'u0' },
    { apiVersion: 'apps/v1', kind, name, uid: 'u1', controller: true },
  ],
});

interface PodParts {
  readonly ip: string;
  readonly node: string;
  readonly more?: object;
  readonly ready?: string;
  readonly phase?: string;
  readonly containers?: readonly object[];
  readonly initContainers?: readonly object[];
}

const WEB = {
  name: 'web',
  image: 'registry.example/web:1.2',
  ports: [
    { name: 'http', containerPort: 8080, protocol: 'TCP' },
    { name: 'metrics', containerPort: 9090, protocol: 'TCP' },
  ],
};

export function pod(namespace: string, name: string, parts: PodParts): ApiObject {
  const { ip, node, more = {}, ready = 'True', phase = 'Running' } = parts;
  const containers = parts.containers ?? [WEB];
  return {
    metadata: meta(namespace, name, more),
    spec: { nodeName: node, containers, initContainers: parts.initContainers },
    status: {
      phase,
      podIP: ip === '' ? undefined : ip,
      hostIP: '10.9.0.1',
      conditions: ready === '' ? [] : [{ type: 'Ready', status: ready }],
      containerStatuses: [
        {
          name: 'web',
          containerID: `containerd://${name}`,
          image: '',
          imageID: '',
          ready: true,
          restartCount: 0,
        },
      ],
    },
  };
}

function node(
  name: string,
  addresses: readonly (readonly [string, string])[],
  labels: object = {},
): ApiObject {
  return {
    metadata: { name, labels: labels as Record<string, string>, annotations: { 'node.alpha/ttl': '0' } },
    spec: { providerID: `cloud:///${name}` },
    status: {
      addresses: addresses.map(([type, address]) => ({ type, address })),
      conditions: [
        { type: 'Ready', status: 'True' },
        { type: 'DiskPressure', status: 'False' },
        { type: 'example.com/Odd-Thing', status: 'Unknown' },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
    },
  };
}

const namespaces: readonly ApiObject[] = [
  { metadata: { name: 'shop', labels: { 'kubernetes.io/metadata.name': 'shop', team: 'a-1' } } },
  { metadata: { name: 'ops', labels: { team: 'b' }, annotations: { 'x/y': 'z "quoted"\n' } } },
];

const nodes: readonly ApiObject[] = [
  node(
    'n1',
    [
      ['InternalIP', '10.9.0.1'],
      ['InternalIP', '10.9.0.9'],
      ['Hostname', 'n1.local'],
    ],
    {
      'topology.kubernetes.io/zone': 'z1',
      role: 'worker',
    },
  ),
  node(
    'n2',
    [
      ['ExternalIP', '192.0.2.2'],
      ['ExternalDNS', 'n2.example'],
    ],
    { role: 'worker' },
  ),
  node(
    'n3',
    [
      ['InternalIP', 'fd00::3'],
      ['Hostname', 'n3'],
    ],
    { role: 'control-plane' },
  ),
  node('n4', [['Hostname', 'only-a-name']]),
  node('nowhere', [['Weather', 'fog']]),
];

const pods: readonly ApiObject[] = [
  pod('shop', 'web-1', {
    ip: '10.1.0.1',
    node: 'n1',
    more: {
      labels: { app: 'web', 'app.kubernetes.io/name': 'web', 'odd/Ü-name': 'x' },
      annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '9090', empty: '' },
      ...owner('ReplicaSet', 'web-rs'),
    },
  }),
  pod('shop', 'web-2', {
    ip: '10.1.0.2',
    node: 'n2',
    ready: 'False',
    more: { labels: { app: 'web' }, ...owner('ReplicaSet', 'orphan-rs') },
  }),
  pod('shop', 'six', {
    ip: 'fd00::1:2',
    node: 'n3',
    ready: '',
    more: { labels: { app: 'six' } },
    containers: [
      { name: 'none', image: 'none:1' },
      WEB,
      { name: 'dns', image: 'd', ports: [{ containerPort: 53, protocol: 'UDP' }] },
    ],
    initContainers: [
      { name: 'setup', image: 'setup:1', ports: [{ name: 'init', containerPort: 7000, protocol: 'TCP' }] },
    ],
  }),
  pod('shop', 'waiting', {
    ip: '',
    node: '',
    phase: 'Pending',
    ready: 'False',
    more: { labels: { app: 'web' } },
  }),
  pod('ops', 'backup-x', { ip: '10.1.0.4', node: 'n1', phase: 'Succeeded', more: owner('Job', 'backup-1') }),
  pod('ops', 'lost', { ip: '10.1.0.5', node: 'gone-node', more: owner('DaemonSet', 'agents') }),
];

const replicasets: readonly ApiObject[] = [
  { metadata: meta('shop', 'web-rs', owner('Deployment', 'web')) },
  { metadata: meta('shop', 'orphan-rs') },
];
const jobs: readonly ApiObject[] = [{ metadata: meta('ops', 'backup-1', owner('CronJob', 'backup')) }];

const services: readonly ApiObject[] = [
  {
    metadata: meta('shop', 'web', {
      labels: { app: 'web', tier: 'front' },
      annotations: { 'prometheus.io/probe': 'true' },
    }),
    spec: {
      type: 'ClusterIP',
      clusterIP: '10.96.0.10',
      ports: [
        { name: 'http', port: 80, protocol: 'TCP' },
        { name: '', port: 9090, protocol: 'TCP' },
      ],
    },
  },
  {
    metadata: meta('shop', 'headless'),
    spec: { type: 'ClusterIP', clusterIP: 'None', ports: [{ name: 'x', port: 1, protocol: 'SCTP' }] },
  },
  { metadata: meta('shop', 'portless'), spec: { type: 'ClusterIP', clusterIP: 'None' } },
  {
    metadata: meta('ops', 'outside', { labels: { app: 'outside' } }),
    spec: {
      type: 'ExternalName',
      externalName: 'db.example.com',
      ports: [{ name: 'pg', port: 5432, protocol: 'TCP' }],
    },
  },
  {
    metadata: meta('ops', 'balanced'),
    spec: {
      type: 'LoadBalancer',
      clusterIP: '10.96.0.11',
      loadBalancerIP: '203.0.113.7',
      ports: [{ name: 'lb', port: 443, protocol: 'TCP' }],
    },
  },
  {
    metadata: meta('ops', 'dual'),
    spec: {
      type: 'ClusterIP',
      clusterIP: '10.96.0.12',
      ipFamilyPolicy: 'PreferDualStack',
      ipFamilies: ['IPv4', 'IPv6'],
      ports: [{ port: 80, protocol: 'TCP' }],
    },
  },
];

const reference = (kind: string, name: string, namespace?: string) => ({
  targetRef: { kind, name, namespace },
});

const endpoints: readonly ApiObject[] = [
  {
    metadata: meta('shop', 'web', {
      labels: { app: 'web', 'endpoints-only': 'y' },
      annotations: { note: 'n' },
    }),
    subsets: [
      {
        addresses: [
          { ip: '10.1.0.1', nodeName: 'n1', hostname: 'host-1', ...reference('Pod', 'web-1', 'shop') },
          { ip: 'fd00::1:2', nodeName: 'n3', ...reference('Pod', 'six', 'shop') },
        ],
        notReadyAddresses: [{ ip: '10.1.0.2', nodeName: 'n2', ...reference('Pod', 'web-2', 'shop') }],
        ports: [
          { name: 'http', port: 8080, protocol: 'TCP' },
          { name: 'other', port: 1234, protocol: 'TCP' },
        ],
      },
      {
        addresses: [{ ip: '10.1.0.77', ...reference('Pod', 'not-there', 'shop') }],
        ports: [{ port: 8080, protocol: 'TCP' }],
      },
    ],
  },
  {
    metadata: meta('ops', 'kubelet'),
    subsets: [
      {
        addresses: [{ ip: '10.9.0.1', ...reference('Node', 'n1') }, { ip: '192.0.2.2' }],
        ports: [{ name: 'https', port: 10250, protocol: 'TCP' }],
      },
      { addresses: [{ ip: '10.9.0.2' }] },
    ],
  },
];

const endpointslices: readonly ApiObject[] = [
  {
    metadata: meta('shop', 'web-abc', { labels: { 'kubernetes.io/service-name': 'web', app: 'web' } }),
    addressType: 'IPv4',
    ports: [
      { name: 'http', port: 8080, protocol: 'TCP', appProtocol: 'http' },
      { name: 'odd', port: 4321 },
      { name: 'all' },
    ],
    endpoints: [
      {
        addresses: ['10.1.0.1', '10.1.0.111'],
        conditions: { ready: true, serving: true, terminating: false },
        hostname: 'host-1',
        nodeName: 'n1',
        zone: 'z1',
        deprecatedTopology: { 'kubernetes.io/hostname': 'n1', rack: '7' },
        ...reference('Pod', 'web-1', 'shop'),
      },
      { addresses: ['10.1.0.2'], conditions: {}, ...reference('Pod', 'web-2', 'shop') },
      { addresses: ['10.1.0.3'], conditions: { ready: false }, nodeName: 'n2', ...reference('Node', 'n1') },
    ],
  },
  {
    metadata: meta('ops', 'dual-4', { labels: { 'kubernetes.io/service-name': 'dual' } }),
    addressType: 'IPv4',
    ports: [{ name: '', port: 80, protocol: 'TCP' }],
    endpoints: [
      { addresses: ['10.1.0.4'], conditions: { ready: true }, ...reference('Pod', 'backup-x', 'ops') },
    ],
  },
  {
    metadata: meta('ops', 'dual-6', { labels: { 'kubernetes.io/service-name': 'dual' } }),
    addressType: 'IPv6',
    ports: [{ name: '', port: 80, protocol: 'TCP' }],
    endpoints: [{ addresses: ['fd00::4'], conditions: { ready: true } }],
  },
  {
    metadata: meta('ops', 'no-service'),
    addressType: 'FQDN',
    ports: [{ name: 'x', port: 81, protocol: 'TCP' }],
    endpoints: [{ addresses: ['a.example'], conditions: { ready: true } }],
  },
];

const rule = (host: string | undefined, ...paths: readonly (string | undefined)[]) => ({
  host,
  ...(paths.length === 0
    ? {}
    : { http: { paths: paths.map((path) => ({ path, pathType: 'Prefix', backend: {} })) } }),
});

const ingresses: readonly ApiObject[] = [
  {
    metadata: meta('shop', 'front', {
      labels: { app: 'web' },
      annotations: { 'nginx.ingress.kubernetes.io/rewrite-target': '/$1' },
    }),
    spec: {
      ingressClassName: 'nginx',
      tls: [{ hosts: ['*.secure.example', 'exact.example'] }],
      rules: [
        rule('a.secure.example', '/', '/api', ''),
        rule('a.b.secure.example', '/deep'),
        rule('exact.example'),
        rule('plain.example', undefined),
        rule(undefined, '/anywhere'),
      ],
    },
  },
  { metadata: meta('ops', 'bare'), spec: { rules: [rule('bare.example', '/x')] } },
  { metadata: meta('ops', 'ruleless'), spec: { defaultBackend: {} } },
];

export const WORLD: World = {
  namespaces,
  nodes,
  pods,
  replicasets,
  jobs,
  services,
  endpoints,
  endpointslices,
  ingresses,
};
