// R23: a process that holds leases is stopped (SIGSTOP) for longer than they last, others take them, and it wakes up (SIGCONT) and goes on where
// it was: nothing that it writes or sends from then on has effect. Real evaluators, ingesters and NATS; an Alertmanager that notes who told it what.
// TIDEMARK_FENCING_ROUNDS makes it longer: a round is one lease whose holder is stopped, replaced, woken and judged; they come
// of TIDEMARK_FENCING_GROUPS rule groups, some of which share a lease. TIDEMARK_FENCING_SEED repeats its choices.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { MEMBER_EXPIRY_MS, type Node, startCluster, startNode } from '../support/cluster.ts';
import { rulesBy, sharedRulesFile, watchLeases } from '../support/lease-watch.ts';
import { hasPrograms } from '../support/process.ts';
import { loadFactor, waitFor } from '../support/programs.ts';
import { pick, randomOf } from '../support/random.ts';
import { callApi, freshFolder, type MatrixSeries } from '../support/tidemark.ts';

const ROUNDS = Number(process.env.TIDEMARK_FENCING_ROUNDS ?? 8);
const SEED = Number(process.env.TIDEMARK_FENCING_SEED ?? 23);
const EVALUATORS = ['e0', 'e1'];
const GROUPS = Array.from({ length: Number(process.env.TIDEMARK_FENCING_GROUPS ?? 16) }, (_, i) => `g${i}`);
/** How long who wakes up may do what it can at most; it is ended when the other one gives the leases back to it, which it may use. */
const AWAKE_MS = 3_000;
/** Stops at most until one that was woken has tried to write. */
const TRIES_MAX = 6;

interface Heard {
  readonly atMs: number;
  readonly group: string;
  readonly by: string;
}

/** Takes alerts as an Alertmanager does, and notes when. */
async function startReceiver(): Promise<{ readonly address: string; readonly heard: Heard[] }> {
  const heard: Heard[] = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => {
      body += piece.toString();
    });
    request.on('end', () => {
      const alerts = JSON.parse(body) as { labels: { group: string; by: string } }[];
      for (const { labels } of alerts) heard.push({ atMs: Date.now(), group: labels.group, by: labels.by });
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, heard };
}

async function sumOf(nodes: readonly Node[], metric: string): Promise<number> {
  const texts = await Promise.all(nodes.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
  const values = texts.map((text) =>
    Number(new RegExp(`^${metric}(?:{.*})? (\\d+)`, 'm').exec(text)?.[1] ?? 0),
  );
  return values.reduce((sum, value) => sum + value, 0);
}

test.skipIf(!hasPrograms('nats-server'))(
  'R23: an evaluator that was stopped, and replaced, has no effect when it wakes up',
  { timeout: (60_000 + ROUNDS * 15_000) * loadFactor() },
  async () => {
    const random = randomOf(SEED);
    const receiver = await startReceiver();
    const rulesFile = sharedRulesFile(freshFolder(), GROUPS, EVALUATORS);
    const config = `rule_files: [${rulesFile}]\nalerting: { alertmanagers: [{ static_configs: [{ targets: [${receiver.address}] }] }] }\n`;
    const cluster = await startCluster({
      counts: { ingester: 3, store: 1, querier: 1, gateway: 1 },
      flags: { ingester: ['--store.replication-factor=1', '--cluster.partitions=16'] },
    });
    const configFile = path.join(freshFolder(), 'prometheus.yml');
    writeFileSync(configFile, config);
    const evaluators: Node[] = [];
    for (const instance of EVALUATORS) {
      writeFileSync(rulesFile, rulesBy(instance, GROUPS));
      const flags = ['--rules.alert.resend-delay=1s'];
      const natsUrl = cluster.nats.url;
      const node = await startNode('alert-evaluator', instance, { natsUrl, zone: '', configFile, flags });
      await node.ready();
      evaluators.push(node);
    }
    const { leaseOf, holderOf, heldBy } = await watchLeases(cluster.nats.url, rulesFile, GROUPS);
    const describe = (): string => evaluators.map((node) => node.output().slice(-3000)).join('\n');

    let rounds = 0;
    let moved = 0;
    let stops = 0;
    const wrong: string[] = [];
    let refused = 0;
    // Once more where nobody tried: who hears of its loss as it wakes up writes nothing.
    while (rounds < ROUNDS || (refused === 0 && stops < TRIES_MAX)) {
      await waitFor(
        'both hold leases, and both notify',
        () => {
          const since = Date.now() - 3_000;
          const isHeard = (by: string): boolean =>
            receiver.heard.some((each) => each.by === by && each.atMs > since);
          const [a, b] = evaluators.map(({ instance }) => instance) as [string, string];
          return Promise.resolve(
            heldBy(a).length + heldBy(b).length === GROUPS.length && isHeard(a) && isHeard(b),
          );
        },
        { timeoutMs: 40_000, describe },
      );
      const stopped = pick(random, evaluators);
      const other = evaluators.find((node) => node !== stopped)!;
      await sleep(random() * 1_000);
      const groups = heldBy(stopped.instance);
      process.kill(stopped.pid(), 'SIGSTOP');
      const stoppedAtMs = Date.now();
      await waitFor(
        'the other one has them, and notifies',
        () =>
          Promise.resolve(
            groups.every((group) => holderOf(group) === other.instance) &&
              receiver.heard.some(
                ({ atMs, by, group }) =>
                  by === other.instance && groups.includes(group) && atMs > stoppedAtMs,
              ),
          ),
        { timeoutMs: 40_000, describe },
      );
      await sleep(random() * 1_000);
      const wokenAtMs = Date.now();
      process.kill(stopped.pid(), 'SIGCONT');
      const isOthers = (group: string): boolean => holderOf(group) === other.instance;
      while (Date.now() < wokenAtMs + AWAKE_MS && groups.every(isOthers)) await sleep(5);
      process.kill(stopped.pid(), 'SIGKILL');
      const awakeMs = Date.now() - wokenAtMs;
      const judged = groups.filter((group) => holderOf(group) !== stopped.instance);
      await stopped.end('SIGKILL');
      for (const { atMs, by, group } of receiver.heard)
        if (by === stopped.instance && atMs > wokenAtMs && judged.includes(group))
          wrong.push(`${by} notified of ${group}, ${atMs - wokenAtMs} ms after it woke up`);
      const { body } = await callApi(cluster.of('gateway')[0]!.url, 'query', {
        query: `held{by="${stopped.instance}"}[5m]`,
      });
      if (body.status !== 'success') throw new Error(body.error);
      for (const { metric, values } of (body.data as { result: MatrixSeries[] }).result)
        for (const [seconds] of values)
          if (judged.includes(metric.group!) && seconds * 1000 > stoppedAtMs)
            wrong.push(
              `${stopped.instance} wrote ${metric.group} at ${seconds * 1000 - wokenAtMs} ms after it woke up`,
            );
      refused = await sumOf(cluster.of('ingester'), 'tidemark_ingester_fenced_total');
      rounds += new Set(judged.map(leaseOf)).size;
      moved += judged.length;
      stops++;
      process.stdout.write(
        `${stopped.instance}: ${judged.length} of ${groups.length} groups, awake for ${awakeMs} ms\n`,
      );
      writeFileSync(rulesFile, rulesBy(stopped.instance, GROUPS));
      await stopped.start();
      await stopped.ready();
    }

    // NATS goes away for longer than leases last, and comes back with nothing: groups are evaluated and alerts sent throughout.
    const bothNotify = (what: string): Promise<unknown> => {
      const sinceMs = Date.now();
      const isHeard = ({ instance }: Node): boolean =>
        receiver.heard.some(({ by, atMs }) => by === instance && atMs > sinceMs);
      return waitFor(what, () => Promise.resolve(evaluators.every(isHeard)), { timeoutMs: 30_000, describe });
    };
    const heldByBoth = (): boolean =>
      evaluators.every(({ instance }) => heldBy(instance).length > 0) &&
      evaluators.reduce((sum, { instance }) => sum + heldBy(instance).length, 0) === GROUPS.length;
    await waitFor('both hold leases', () => Promise.resolve(heldByBoth()), { timeoutMs: 40_000, describe });
    await bothNotify('both notify with NATS there');
    await cluster.nats.kill();
    await sleep(2 * MEMBER_EXPIRY_MS);
    await bothNotify('both notify with NATS away');
    await cluster.nats.restart({ emptied: true });
    await waitFor('both hold leases of the new NATS', () => Promise.resolve(heldByBoth()), {
      timeoutMs: 40_000,
      describe,
    });
    await bothNotify('both notify with NATS emptied');
    process.stdout.write(
      `rounds=${rounds} stops=${stops} groups=${moved} seed=${SEED} refused_writes=${refused} effects=${wrong.length}\n`,
    );
    expect(wrong).toEqual([]);
    // They did try.
    expect(refused).toBeGreaterThan(0);
  },
);
