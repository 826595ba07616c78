// What the chart renders, booted: every container of a release as a local process with a real NATS, then a write and queries
// through the gateway, and an orderly end.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { hasHelm, render } from '../support/helm.ts';
import { PodWorld, type RunningPod } from '../support/pods.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { queryInstant } from '../support/tidemark.ts';

const runs = hasHelm() && hasPrograms('nats-server');

/** The defaults, but for one of each that keeps nothing: two cores run this beside other tests. */
const VALUES = `
config: {global: {scrape_interval: 1s, evaluation_interval: 1s}}
ruleGroups: [{name: chart, rules: [{record: "job:up:sum", expr: sum by (job) (up)}]}]
scraper: {replicas: 1}
querier: {replicas: 1}
alertEvaluator: {replicas: 1}
gateway: {replicas: 1}
`;
const BOOT_TIMEOUT_MS = 60_000;
const SERIES = 200;

test.skipIf(!runs)(
  'a release boots, takes a write, answers queries, scrapes itself, evaluates rules and stops',
  { timeout: 180_000 },
  async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'chart-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const manifests = render(VALUES);
    const world = new PodWorld(manifests, folder);
    const pods = await world.schedule();
    expect(pods).toHaveLength(3 + 3 + 2 + 4);
    const running = pods.map((pod) => world.start(pod));
    for (const pod of running) await world.ready(pod, BOOT_TIMEOUT_MS);
    for (const pod of running) {
      const live = await fetch(world.probeUrl(pod, 'livenessProbe'));
      expect(live.status, pod.name).toBe(200);
    }

    const gateway = running.find((pod) => pod.component === 'gateway')!;
    const url = `http://127.0.0.1:${gateway.ports.get(9090)}`;
    const timeMs = Date.now();
    const series = Array.from({ length: SERIES }, (_, i) => ({
      labels: { __name__: 'chart_boot', series: String(i) },
      samples: [[timeMs, i]] as [number, number][],
    }));
    // Ready means that a placement is known; its other ingesters may still be joining, which a sender sees as 503.
    expect(await sendWrite(url, snappyLiterals(encodeWriteRequest(series)))).toBe(204);
    const [sum] = await queryInstant(url, 'sum(chart_boot)', timeMs / 1000);
    expect(sum!.value[1]).toBe(String((SERIES * (SERIES - 1)) / 2));

    await waitFor(
      'every ingester and store is scraped, and the rule has counted them',
      async () => {
        const [up] = await queryInstant(url, 'job:up:sum{job="tidemark"}');
        return up?.value[1] === '5';
      },
      {
        timeoutMs: 30_000,
        describe: () => running.map((pod) => `${pod.name}: ${pod.process.output().slice(-1500)}`).join('\n'),
      },
    );

    const hook = world.runOnce(
      manifests.find((one) => one.metadata.annotations?.['helm.sh/hook'] === 'test')!,
    );
    await waitFor('the test hook ends', async () => hook.exited() !== undefined);
    expect(hook.exited(), hook.output()).toBe(0);

    await endAll(running.filter((pod) => pod.component !== 'nats'));
  },
);

/** Each ends by itself within the grace that the chart gives, exit code 0. */
async function endAll(pods: readonly RunningPod[]): Promise<void> {
  await Promise.all(pods.map((pod) => pod.process.end('SIGTERM')));
  for (const pod of pods)
    expect(pod.process.exited(), `${pod.name}: ${pod.process.output().slice(-1500)}`).toBe(0);
}
