// What a cluster of processes lives through under load: an ingester killed, one that hangs, one restarted, NATS gone and back with an empty
// disk, everything killed at once. No write fails that is sent again within two seconds, no query fails twice or gives
// another answer, and every sample that was answered with 204 is there in the end.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import {
  MEMBER_EXPIRY_MS,
  membersOf,
  startCluster,
  startNode,
  type TestCluster,
} from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { freshFolder, queryInstant } from '../support/tidemark.ts';

const present = hasPrograms('nats-server');

const SERIES = 10;
const WRITE_PAUSE_MS = 20;
const QUERY_PAUSE_MS = 100;
/** A write that fails is sent again for this long, as every sender does. */
const RETRY_MS = 2_000;
const RECOVERY_MS = 15_000;
/** Rounds in which everything is killed at once. */
const KILLS = Number(process.env.TIDEMARK_CLUSTER_KILLS ?? 2);

const valueAt = (sequence: number, series: number): number => sequence * 100 + series;

/** Writes and queries without a pause, and remembers what came of it. */
class Load {
  readonly acknowledged: { readonly timeMs: number; readonly sequence: number }[] = [];
  readonly failures: string[] = [];
  retries = 0;
  queries = 0;
  readonly #gateways: readonly string[];
  #phase = '';
  #sequence = 0;
  #isRunning = true;
  readonly #startMs: number;
  readonly #loops: readonly Promise<void>[];

  /** @param startMs  Time of the first sample. */
  constructor(gateways: readonly string[], startMs = Date.now() - 1_800_000) {
    this.#gateways = gateways;
    this.#startMs = startMs;
    this.#loops = [this.#write(), this.#write(), this.#query()];
  }

  /** Named in failures. */
  enter(phase: string): void {
    this.#phase = phase;
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#loops);
  }

  #gateway(n: number): string {
    return this.#gateways[n % this.#gateways.length]!;
  }

  #fail(what: string): void {
    this.failures.push(`${this.#phase}: ${what}`);
  }

  async #write(): Promise<void> {
    while (this.#isRunning) {
      const sequence = this.#sequence++;
      const timeMs = this.#startMs + sequence * 7;
      const series = Array.from({ length: SERIES }, (_, i) => ({
        labels: { __name__: 'load', series: String(i) },
        samples: [[timeMs, valueAt(sequence, i)]] as const,
      }));
      await this.#send(snappyLiterals(encodeWriteRequest(series)), timeMs, sequence);
      await sleep(WRITE_PAUSE_MS);
    }
  }

  async #send(body: Buffer, timeMs: number, sequence: number): Promise<void> {
    const untilMs = performance.now() + RETRY_MS;
    for (let attempt = 0; ; attempt++) {
      const gateway = this.#gateway(sequence + attempt);
      const outcome = await postWrite(gateway, body).then(
        ({ status, text }) => (status === 204 ? undefined : `${status} ${text}`),
        (error: unknown) => String(error),
      );
      if (outcome === undefined) {
        this.acknowledged.push({ timeMs, sequence });
        return;
      }
      if (!this.#isRunning) return;
      this.retries++;
      if (performance.now() > untilMs) {
        this.#fail(`write ${sequence}: ${outcome}`);
        return;
      }
      await sleep(100);
    }
  }

  async #query(): Promise<void> {
    for (let n = 0; this.#isRunning; n++) {
      const least = this.acknowledged.length * SERIES;
      const ask = async (attempt: number): Promise<number> => {
        const answer = await queryInstant(this.#gateway(n + attempt), 'sum(count_over_time(load[1h]))');
        return Number(answer[0]?.value[1] ?? 0);
      };
      const found = await ask(0)
        .catch(() => {
          this.retries++;
          return ask(1);
        })
        .catch((error: unknown) => String(error));
      if (typeof found === 'string') this.#fail(`query: ${found}`);
      else if (found < least) this.#fail(`query: ${found} samples, ${least} were acknowledged before`);
      this.queries++;
      await sleep(QUERY_PAUSE_MS);
    }
  }
}

type Acknowledged = Load['acknowledged'];

/** Acknowledged samples that a gateway does not give back as they were. */
async function missingAt(gateway: string, acknowledged: Acknowledged): Promise<string[]> {
  const response = await fetch(`${gateway}/api/v1/query?query=${encodeURIComponent('load[1h]')}`);
  const body = (await response.json()) as {
    data: { result: { metric: { series: string }; values: [number, string][] }[] };
  };
  const found = new Map<string, string>();
  for (const { metric, values } of body.data.result) {
    for (const [seconds, value] of values) found.set(`${metric.series} ${Math.round(seconds * 1000)}`, value);
  }
  const missing: string[] = [];
  for (const { timeMs, sequence } of acknowledged) {
    for (let i = 0; i < SERIES; i++) {
      const value = found.get(`${i} ${timeMs}`);
      if (Number(value) !== valueAt(sequence, i)) missing.push(`series ${i} at ${timeMs}: ${value}`);
    }
  }
  return missing;
}

async function allThere(cluster: TestCluster, gateway: string): Promise<boolean> {
  const { members, controlPlane } = await membersOf(gateway);
  const ready = members.filter(({ state }) => state === 'ready').length;
  return controlPlane === 'reachable' && ready >= cluster.nodes.length;
}

test.skipIf(!present)('processes and NATS are lost under load', { timeout: 240_000 }, async () => {
  const cluster = await startCluster({ counts: { ingester: 3, store: 1, querier: 1, gateway: 2 } });
  onTestFinished(({ task }) => {
    if (task.result?.state === 'fail') console.log(cluster.describe());
  });
  const gateways = cluster.of('gateway').map(({ url }) => url);
  const [gateway] = gateways as [string];
  const [first, second, third] = cluster.of('ingester');
  await waitFor('all members', () => allThere(cluster, gateway));
  const load = new Load(gateways);

  load.enter('an ingester is killed');
  await sleep(1_000);
  await first!.end('SIGKILL');
  await sleep(MEMBER_EXPIRY_MS + 1_000);
  const without = (await membersOf(gateway)).members.find(({ instance }) => instance === first!.instance);
  expect(without).toMatchObject({ state: 'absent', partitionsOwned: 64 });

  load.enter('it comes back');
  await first!.start();
  await first!.ready();
  await waitFor('all members again', () => allThere(cluster, gateway), { timeoutMs: RECOVERY_MS });

  load.enter('an ingester hangs');
  process.kill(third!.pid(), 'SIGSTOP');
  await sleep(MEMBER_EXPIRY_MS + 2_000);
  process.kill(third!.pid(), 'SIGCONT');
  await waitFor('all members with the one that hung', () => allThere(cluster, gateway), {
    timeoutMs: RECOVERY_MS,
  });

  load.enter('an ingester is restarted in order');
  await second!.end('SIGTERM');
  expect(second!.exited()).toBe(0);
  await second!.start();
  await second!.ready();

  load.enter('NATS is gone');
  await cluster.nats.kill();
  await sleep(2 * MEMBER_EXPIRY_MS);
  expect(await membersOf(gateway)).toMatchObject({ controlPlane: 'unreachable', replicationFactor: 3 });
  load.enter('NATS is back, empty');
  await cluster.nats.restart({ emptied: true });
  const configFile = path.join(freshFolder(), 'prometheus.yml');
  writeFileSync(configFile, 'global: {}\n');
  // A process that knows nothing learns all from the others.
  const late = await startNode('gateway', 'late', { natsUrl: cluster.nats.url, zone: '', configFile });
  await Promise.all([
    late.ready(RECOVERY_MS),
    waitFor('all members', () => allThere(cluster, gateway), { timeoutMs: RECOVERY_MS }),
  ]);
  await waitFor('all members, for the late one', () => allThere(cluster, late.url), {
    timeoutMs: RECOVERY_MS,
  });

  await sleep(500);
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(await missingAt(late.url, load.acknowledged)).toEqual([]);
  const samples = load.acknowledged.length * SERIES;
  console.log(
    `cluster: ${samples} samples acknowledged, ${load.queries} queries, ${load.retries} retries, 0 lost`,
  );
  expect(load.acknowledged.length).toBeGreaterThan(100);
});

test.skipIf(!present)(
  `everything is killed at once, ${KILLS} times`,
  { timeout: 60_000 + KILLS * 30_000 },
  async () => {
    const cluster = await startCluster({ counts: { ingester: 3, querier: 1, gateway: 1 } });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const acknowledged: Acknowledged[number][] = [];
    const startMs = Date.now() - 1_800_000;
    for (let round = 0; round < KILLS; round++) {
      const load = new Load([gateway], startMs + round * 60_000);
      await sleep(500 + Math.random() * 1_000);
      await Promise.all(cluster.nodes.map((node) => node.end('SIGKILL')));
      await load.stop();
      acknowledged.push(...load.acknowledged);
      await Promise.all(cluster.nodes.map((node) => node.start()));
      await Promise.all(cluster.nodes.map((node) => node.ready()));
      await waitFor('all members', () => allThere(cluster, gateway));
      expect(await missingAt(gateway, acknowledged)).toEqual([]);
    }
    console.log(
      `cluster: ${KILLS} kills of everything, ${acknowledged.length * SERIES} samples acknowledged, 0 lost`,
    );
    expect(acknowledged.length).toBeGreaterThan(KILLS);
  },
);
