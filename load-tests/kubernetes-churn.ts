// Discovery while a cluster changes: thousands of pods, some of which change every moment. What it costs, how late targets are, and
// whether they are right in the end. With --prometheus, a Prometheus follows the same API server beside it.
import { fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { systemClock } from '../services/lib/core/clock.ts';
import { createDiscovery } from '../services/lib/discovery/discovery.ts';
import { createDiscoverySources } from '../services/lib/discovery/discovery-sources.ts';
import { compileRelabeler } from '../services/lib/relabel/relabel.ts';
import type { TargetGroup } from '../services/lib/runtime/config/discovery-config.ts';
import { loadConfig } from '../services/lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../services/lib/runtime/logger.ts';
import { buildTargets, type TargetOutcome } from '../services/scraper/targets/target.ts';
import { type ApiObject, KubernetesApi } from '../test/support/kubernetes-api.ts';
import { positive, readFlags } from './command-line.ts';
import { usageOf } from './process-usage.ts';

export interface ChurnOptions {
  readonly pods: number;
  /** Changes per second. */
  readonly rate: number;
  readonly seconds: number;
}

export interface ChurnResult {
  readonly changes: number;
  /** From the change at the API server until a target has it, milliseconds. */
  readonly lagMs: { readonly median: number; readonly p99: number; readonly max: number };
  /** Of the discovering process while pods change, CPU seconds per second. */
  readonly cpuShare: number;
  readonly startCpuSeconds: number;
  readonly residentBytes: number;
  readonly heapBytes: number;
  /** Whether its targets are those of the API server after the last change. */
  readonly isRight: boolean;
}

/** What the API server's process tells. */
interface Told {
  readonly url?: string;
  readonly changes?: number;
  /** Addresses with the time of their last change, when all is done. */
  readonly truth?: readonly string[];
}

/** As large as pods are: most of one is what discovery does not keep. */
function podOf(i: number, changedAtMs: number): ApiObject {
  const fields = Object.fromEntries(
    Array.from({ length: 60 }, (_, k) => [`f:field-number-${k}`, { 'f:value': {} }]),
  );
  return {
    metadata: {
      name: `web-${i}-7d9f8b6c5-x2x4z`,
      namespace: `team-${i % 50}`,
      uid: `0c8b1f4e-0000-4000-8000-${String(i).padStart(12, '0')}`,
      labels: { app: `web-${i % 200}`, 'app.kubernetes.io/name': 'web', 'pod-template-hash': '7d9f8b6c5' },
      annotations: {
        'prometheus.io/scrape': 'true',
        'prometheus.io/port': '9090',
        changed: String(changedAtMs),
      },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `web-${i}-7d9f8b6c5`, uid: 'u', controller: true },
      ],
      managedFields: [{ manager: 'kubelet', operation: 'Update', fieldsV1: fields }],
    },
    spec: {
      nodeName: `node-${i % 100}`,
      containers: [
        {
          name: 'web',
          image: 'registry.example/web:1.2.3',
          env: Array.from({ length: 30 }, (_, k) => ({ name: `SETTING_${k}`, value: 'x'.repeat(40) })),
          ports: [
            { name: 'http', containerPort: 8080, protocol: 'TCP' },
            { name: 'metrics', containerPort: 9090, protocol: 'TCP' },
          ],
        },
      ],
      volumes: Array.from({ length: 10 }, (_, k) => ({ name: `volume-${k}`, emptyDir: {} })),
    },
    status: {
      phase: 'Running',
      podIP: `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`,
      hostIP: `172.16.0.${i % 100}`,
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [{ name: 'web', containerID: `containerd://${i}`, ready: true }],
    },
  };
}

/** Address and time of the last change of each target that a job would scrape. */
function keyOf(ip: string, changed: string): string {
  return `${ip} ${changed}`;
}

async function serve({ pods, rate, seconds }: ChurnOptions): Promise<void> {
  const api = await KubernetesApi.start();
  const truth = new Map<number, number>();
  const put = (i: number): void => {
    const now = Date.now();
    truth.set(i, now);
    api.put('pods', podOf(i, now));
  };
  for (let i = 0; i < pods; i++) put(i);
  process.send!({ url: api.url } satisfies Told);
  await new Promise((resolve) => process.once('message', resolve));
  let changes = 0;
  let added = pods;
  const startMs = performance.now();
  while (performance.now() - startMs < seconds * 1000) {
    const due = Math.floor(((performance.now() - startMs) / 1000) * rate);
    for (; changes < due; changes++) {
      // One of ten changes is a pod that goes and another that comes.
      if (changes % 10 !== 0) {
        const known = [...truth.keys()];
        put(known[(changes * 7919) % known.length]!);
        continue;
      }
      const [oldest] = truth.keys();
      truth.delete(oldest!);
      api.remove('pods', podOf(oldest!, 0).metadata.name, podOf(oldest!, 0).metadata.namespace);
      put(added++);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const all = [...truth].map(([i, changedAtMs]) => {
    const { podIP } = podOf(i, 0).status as { podIP: string };
    return keyOf(podIP, String(changedAtMs));
  });
  process.send!({ changes, truth: all.toSorted() } satisfies Told);
  await new Promise((resolve) => process.once('message', resolve));
  await api.close();
}

const JOB = (url: string): string =>
  `scrape_configs:
  - job_name: pods
    kubernetes_sd_configs: [{api_server: "${url}", role: pod}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}
      - {source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port], regex: "([^:]+)(?::\\\\d+)?;(\\\\d+)", replacement: "$1:$2", target_label: __address__}
      - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
      - {source_labels: [__meta_kubernetes_pod_container_port_name], action: DROP, regex: metrics}
`.replace('DROP', 'drop');

/** Runs the load; the API server is a process of its own. */
export async function runChurn(
  options: ChurnOptions,
  onServer: (url: string) => void = () => {},
): Promise<ChurnResult> {
  const server = fork(new URL(import.meta.url), ['--serve', JSON.stringify(options)]);
  const next = (): Promise<Told> =>
    new Promise((resolve) => server.once('message', (told) => resolve(told as Told)));
  const { url } = await next();
  onServer(url!);
  const environment = { clock: systemClock, logger: createSilentLogger() };
  const sources = createDiscoverySources({ ...environment, registry: new Registry() });
  const config = loadConfig(JOB(url!), '/').scrapeConfigs[0]!;
  const relabel = compileRelabeler(config.relabelConfigs);
  const lags: number[] = [];
  // As a scrape pool does it: groups that did not change are not relabelled again.
  let outcomes = new WeakMap<TargetGroup, readonly TargetOutcome[]>();
  let isMeasuring = false;
  const sync = (): string[] => {
    const now = Date.now();
    const keys: string[] = [];
    for (const group of discovery.groups()) {
      let made = outcomes.get(group);
      if (made === undefined) {
        made = buildTargets(config, group, relabel);
        outcomes.set(group, made);
        if (isMeasuring) lags.push(now - Number(changedOf(group)));
      }
      const ip = group.labels.get('__meta_kubernetes_pod_ip');
      if (made.some(({ kind }) => kind === 'active')) keys.push(keyOf(ip, changedOf(group)));
    }
    return keys.toSorted();
  };
  const discovery = createDiscovery(config.discovery, {
    ...environment,
    sources,
    onChange: sync,
    onError: () => {},
  });
  const startCpu = process.cpuUsage();
  await discovery.start();
  while (discovery.groups().length < options.pods) await systemClock.sleep(50);
  sync();
  const startCpuSeconds = secondsOf(process.cpuUsage(startCpu));
  isMeasuring = true;
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  server.send('begin');
  const { changes, truth } = await next();
  await systemClock.sleep(2_000);
  const cpuShare = secondsOf(process.cpuUsage(cpu)) / ((performance.now() - startMs) / 1000);
  const isRight = sync().join('\n') === truth!.join('\n');
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  outcomes = new WeakMap();
  await discovery.stop();
  await sources.hub.stop();
  server.send('end');
  lags.sort((a, b) => a - b);
  const quantile = (q: number): number => lags[Math.min(Math.floor(lags.length * q), lags.length - 1)] ?? 0;
  return {
    changes: changes!,
    lagMs: { median: quantile(0.5), p99: quantile(0.99), max: quantile(1) },
    cpuShare,
    startCpuSeconds,
    residentBytes: rss,
    heapBytes: heapUsed,
    isRight,
  };
}

function changedOf(group: TargetGroup): string {
  return group.labels.get('__meta_kubernetes_pod_annotation_changed');
}

function secondsOf({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1e6;
}

const USAGE = `Discovery while pods come and go: what it costs, how late targets are, whether they are right in the end.

usage: node load-tests/kubernetes-churn.ts [flags]

  --pods N              at one time                                              5000
  --rate N              changes a second                                         50
  --seconds S           how long                                                 60
  --prometheus PROGRAM  a Prometheus that follows the same API server beside it
`;

async function main(): Promise<void> {
  const values = readFlags(USAGE, {
    pods: { type: 'string', default: '5000' },
    rate: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '60' },
    prometheus: { type: 'string' },
    serve: { type: 'string' },
  });
  if (values.serve !== undefined) return serve(JSON.parse(values.serve) as ChurnOptions);
  const options = {
    pods: positive('pods', values.pods),
    rate: positive('rate', values.rate),
    seconds: positive('seconds', values.seconds),
  };
  const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-churn-'));
  let rival: ReturnType<typeof spawn> | undefined;
  const result = await runChurn(options, (url) => {
    if (values.prometheus === undefined) return;
    writeFileSync(
      path.join(folder, 'prometheus.yml'),
      `${JOB(url)}      - {action: drop, source_labels: [job], regex: pods}\n`,
    );
    const flags = [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      '--web.listen-address=127.0.0.1:23499',
    ];
    rival = spawn(values.prometheus, flags, { stdio: 'ignore' });
  });
  const used = rival?.pid === undefined ? undefined : usageOf([rival.pid]);
  rival?.kill();
  rmSync(folder, { recursive: true, force: true });
  console.info(JSON.stringify({ ...options, ...result, prometheus: used }, undefined, 1));
  if (!result.isRight) process.exitCode = 1;
}

if (import.meta.main) await main();
