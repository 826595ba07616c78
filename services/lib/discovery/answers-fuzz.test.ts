// What other programs answer, with parts of it replaced by something else: discovery takes it, or refuses it by name, and what it takes are
// groups whose addresses and labels are texts.
import { expect, test } from 'vitest';
import { FUZZ_SEED } from '../../../test/support/byte-fuzz.ts';
import { pick, type Random, randomOf } from '../../../test/support/random.ts';
import { AppError } from '../core/errors.ts';
import type { DockerSdConfig, TargetGroup } from '../runtime/config/discovery-config.ts';
import { loadConfig } from '../runtime/config/load-config.ts';
import { dockerGroup } from './docker-discovery.ts';
import { parseGroups } from './http-discovery.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { buildEndpointSliceGroup, buildEndpointsGroup } from './kubernetes/endpoint-targets.ts';
import { buildIngressGroup } from './kubernetes/ingress-targets.ts';
import type { BuildContext } from './kubernetes/meta-labels.ts';
import { buildNodeGroup } from './kubernetes/node-targets.ts';
import {
  readEndpointSlice,
  readEndpoints,
  readIngress,
  readNode,
  readPod,
  readService,
} from './kubernetes/objects.ts';
import { buildPodGroup } from './kubernetes/pod-targets.ts';
import { buildServiceGroup } from './kubernetes/service-targets.ts';

const RUNS = Number(process.env.TIDEMARK_FUZZ_MUTATIONS ?? 50_000) / 10;
const ODD = [null, true, -1, 1e308, 80, '', 'x', '\ud800', '__proto__', [], [null], {}, { a: 1 }, [[]]];

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A copy in which some values are others. */
function mutate(random: Random, value: Json, share: number): Json {
  if (random() < share) return structuredClone(pick(random, ODD)) as Json;
  if (Array.isArray(value)) return value.map((each) => mutate(random, each, share));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      random() < share / 2 ? 'odd key' : key,
      mutate(random, each, share),
    ]),
  );
}

const META = {
  name: 'n',
  namespace: 'ns',
  uid: 'u',
  labels: { app: 'web' },
  annotations: { 'a/b': 'c' },
  ownerReferences: [{ kind: 'ReplicaSet', name: 'r', controller: true }],
};
const CONTAINER = { name: 'c', image: 'i', ports: [{ name: 'http', containerPort: 80, protocol: 'TCP' }] };
const CONTEXT: BuildContext = {
  attach: { node: false, namespace: false, deployment: false, job: false, cronjob: false },
  lookup: () => undefined,
};
const DOCKER = loadConfig('scrape_configs: [{job_name: a, docker_sd_configs: [{host: "unix:///x"}]}]', '/')
  .scrapeConfigs[0]!.discovery.askedConfigs![0] as DockerSdConfig;
const objects = (value: unknown): JsonObject[] => (Array.isArray(value) ? value : []).filter(isJsonObject);
/** The reader of one object; what is none never comes to it. */
const ofObject =
  (build: (object: JsonObject) => TargetGroup) =>
  (value: unknown): readonly TargetGroup[] =>
    isJsonObject(value) ? [build(value)] : [];

const READERS: readonly [string, Json, (value: unknown) => readonly TargetGroup[]][] = [
  [
    'http_sd',
    [{ targets: ['a:1', 'b:2'], labels: { x: 'y' } }, { targets: [] }],
    (value) => parseGroups(JSON.stringify(value), 'http://x/'),
  ],
  [
    'docker_sd',
    {
      containers: [
        {
          Id: 'c1',
          Names: ['/web'],
          Labels: { a: 'b' },
          HostConfig: { NetworkMode: 'container:c1' },
          NetworkSettings: { Networks: { n: { NetworkID: 'n1', IPAddress: '10.0.0.1' } } },
          Ports: [{ PrivatePort: 80, PublicPort: 81, IP: '0.0.0.0', Type: 'tcp' }],
        },
      ],
      networks: [{ Id: 'n1', Name: 'n', Scope: 'local', Labels: { l: 'm' } }],
    },
    (value) => {
      const { containers, networks } = isJsonObject(value) ? value : {};
      return [dockerGroup(objects(containers), objects(networks), DOCKER)];
    },
  ],
  [
    'pod',
    {
      metadata: META,
      spec: { nodeName: 'x', containers: [CONTAINER], initContainers: [CONTAINER] },
      status: {
        podIP: '10.0.0.1',
        hostIP: '10.0.0.2',
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'True' }],
        containerStatuses: [{ name: 'c', containerID: 'id' }],
      },
    },
    ofObject((object) => buildPodGroup(readPod(object), CONTEXT)),
  ],
  [
    'node',
    {
      metadata: META,
      spec: { providerID: 'p' },
      status: {
        addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
        daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    },
    ofObject((object) => buildNodeGroup(readNode(object))),
  ],
  [
    'service',
    {
      metadata: META,
      spec: {
        type: 'ClusterIP',
        clusterIP: '10.0.0.1',
        ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      },
    },
    ofObject((object) => buildServiceGroup(readService(object), CONTEXT)),
  ],
  [
    'endpoints',
    {
      metadata: META,
      subsets: [
        {
          addresses: [
            { ip: '10.0.0.1', nodeName: 'x', targetRef: { kind: 'Pod', name: 'p', namespace: 'ns' } },
          ],
          notReadyAddresses: [{ ip: '10.0.0.2' }],
          ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
        },
      ],
    },
    ofObject((object) => buildEndpointsGroup(readEndpoints(object), CONTEXT)),
  ],
  [
    'endpointslice',
    {
      metadata: META,
      addressType: 'IPv4',
      endpoints: [
        { addresses: ['10.0.0.1'], conditions: { ready: true }, targetRef: { kind: 'Pod', name: 'p' } },
      ],
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    },
    ofObject((object) => buildEndpointSliceGroup(readEndpointSlice(object), CONTEXT)),
  ],
  [
    'ingress',
    {
      metadata: META,
      spec: {
        ingressClassName: 'c',
        tls: [{ hosts: ['a.example'] }],
        rules: [{ host: 'a.example', http: { paths: [{ path: '/x' }] } }],
      },
    },
    ofObject((object) => buildIngressGroup(readIngress(object), CONTEXT)),
  ],
];

test.each(READERS)('%s', (name, sample, read) => {
  expect(read(sample).flatMap(({ targets }) => targets).length).toBeGreaterThan(0);
  const random = randomOf(FUZZ_SEED);
  let withTargets = 0;
  for (let run = 0; run < RUNS; run++) {
    const value = mutate(random, sample, pick(random, [0.02, 0.1, 0.3]));
    const where = `${name}, TIDEMARK_FUZZ_SEED=${FUZZ_SEED}, run ${run}: ${JSON.stringify(value)}`;
    try {
      for (const { targets, labels, targetLabels } of read(value)) {
        if (targets.length > 0) withTargets++;
        const pairs = [...labels.entries(), ...(targetLabels ?? []).flatMap((each) => [...each.entries()])];
        const texts = [...targets, ...pairs.flat()];
        if (texts.some((text) => typeof text !== 'string')) expect.fail(`something is no text: ${where}`);
      }
    } catch (caught) {
      if (!(caught instanceof AppError) || caught.code !== 'bad_data')
        throw new Error(where, { cause: caught });
    }
  }
  expect(withTargets / RUNS, 'share of answers with targets').toBeGreaterThan(0.1);
});
