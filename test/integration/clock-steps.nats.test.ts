// R22: the wall clock of one process of a running cluster is set an hour ahead, an hour or two back, and right again, while the others go
// by the true time. Nothing is lost, no request fails, nobody's lease or membership ends, owners stay, and no slot of a rule group is
// evaluated by two. `tidemark doctor` names whose clock is wrong. A process whose clock was wrong is at work again as soon as it is right.
// Clocks are libfaketime's.
// TIDEMARK_CLOCK_STEPS sets how many steps there are, TIDEMARK_CLOCK_SEED whose and which.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, type Node, seesMembers, startCluster, startNode } from '../support/cluster.ts';
import { ClusterLoad, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { askDoctor } from '../support/doctor.ts';
import { createFakeClock, type FakeClock, hasFakeClock } from '../support/fake-clock.ts';
import { rulesBy, sharedRulesFile, watchLeases } from '../support/lease-watch.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { pick, type Random, randomOf } from '../support/random.ts';
import { callApi, freshFolder, type MatrixSeries } from '../support/tidemark.ts';

const STEPS = Number(process.env.TIDEMARK_CLOCK_STEPS ?? 3);
const SEED = Number(process.env.TIDEMARK_CLOCK_SEED ?? 22);
const HOUR = 3_600;
const OFFSETS = [HOUR, -HOUR, -2 * HOUR] as const;
/** A busy machine may hold a process up for some seconds: that must not look like a clock that was set. */
const EXPIRY_MS = 20_000;
/** Slots of before an evaluator came that it makes up for lie in this time, which is less than any step. */
const MADE_UP_MAX_MS = 10 * 60_000;
/** A gateway admits samples by its own clock: one that is behind takes those of now for the future's, and says so (400). */
const GATEWAY_OFFSETS = [HOUR] as const;
const GROUPS = Array.from({ length: 8 }, (_, i) => `g${i}`);
const EVALUATORS = ['e0', 'e1'] as const;

/** Seals what there is, by clocks that differ. */
async function seal(gateway: string): Promise<void> {
  const response = await fetch(`${gateway}/api/v1/admin/tsdb/seal`, { method: 'POST' });
  expect(response.status, await response.text()).toBe(200);
}

/** While groups changed hands, Unix ms. */
interface Settled {
  readonly beforeMs: number;
  readonly sinceMs: number;
}

/**
 * Each slot of each group but those of before, and who wrote it. Groups change hands when the second evaluator comes, and who takes one over
 * evaluates the last slots once more: their holder of then may not have come to them. Both may have made up for some of before they came.
 */
async function slotsOf(gateway: string, { beforeMs, sinceMs }: Settled): Promise<Map<string, string[]>> {
  const { body } = await callApi(gateway, 'query', { query: 'held[2h]' });
  if (body.status !== 'success') throw new Error(body.error);
  const slots = new Map<string, string[]>();
  for (const { metric, values } of (body.data as { result: MatrixSeries[] }).result)
    for (const [seconds] of values) {
      if (1000 * seconds >= beforeMs && 1000 * seconds <= sinceMs) continue;
      const slot = `${metric.group} at ${seconds}`;
      slots.set(slot, [...(slots.get(slot) ?? []), metric.by!]);
    }
  return slots;
}

/** Whether every group has a sample since then. @throws Error that names the ages of what is there. */
async function areEvaluated(gateway: string, sinceMs: number): Promise<boolean> {
  const { body } = await callApi(gateway, 'query', { query: 'timestamp(held)' });
  const { result } = body.data as {
    result: { metric: { group: string; by: string }; value: [number, string] }[];
  };
  const isRecent = ({ value }: (typeof result)[number]): boolean => 1000 * Number(value[1]) > sinceMs;
  const recent = new Set(result.filter(isRecent).map(({ metric }) => metric.group));
  if (recent.size === GROUPS.length) return true;
  const ages = result.map(
    ({ metric, value }) => `${metric.group} by ${metric.by} ${Date.now() / 1000 - Number(value[1])} s`,
  );
  throw new Error(`ages of held: ${ages.join(', ')}`);
}

/** Doctor says whose clock is wrong. */
async function namesClock(gateway: string, name: string): Promise<void> {
  const complaint = new RegExp(
    `error: the clock of \\S+ ${name} is \\d+(\\.\\d)? s (ahead of|behind) this gateway's`,
  );
  let said = '';
  await waitFor(
    `doctor names the clock of ${name}`,
    async () => {
      said = await askDoctor(gateway);
      return complaint.test(said);
    },
    { timeoutMs: 60_000, describe: () => said },
  );
}

/** Whenever other evaluators hold the groups than a moment ago, those that do then. A lease that goes and comes back is seen too. */
function movesOf(holders: () => string[], atEnd: (act: () => void) => void): string[] {
  const moves: string[] = [];
  let last = holders().join(' ');
  const timer = setInterval(() => {
    const now = holders().join(' ');
    if (now !== last) moves.push(`${new Date().toISOString()}: ${now}`);
    last = now;
  }, 100);
  atEnd(() => clearInterval(timer));
  return moves;
}

/** One of each process first, then by lot. */
function* chooseSteps(random: Random, names: readonly string[]): Generator<{ name: string; offset: number }> {
  for (let step = 0; step < STEPS; step++) {
    const name = names[step] ?? pick(random, names);
    yield { name, offset: pick(random, name.startsWith('gateway') ? GATEWAY_OFFSETS : OFFSETS) };
  }
}

test.skipIf(!hasPrograms('nats-server') || !hasFakeClock())(
  `R22: ${STEPS} steps of single clocks by hours: nothing lost, no lease moved, no slot evaluated twice (seed ${SEED})`,
  { timeout: 180_000 + STEPS * 40_000 },
  async () => {
    const random = randomOf(SEED);
    const stepped = ['e0', 'ingester-0', 'store-0', 'querier-0', 'gateway-0', 'ingester-1'] as const;
    const clocks = new Map<string, FakeClock>(stepped.map((name) => [name, createFakeClock()]));
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 1, gateway: 1 },
      flags: { ingester: ['--cluster.partitions=16'], gateway: ['--web.enable-admin-api'] },
      nodeEnvironments: Object.fromEntries([...clocks].map(([name, { env }]) => [name, env])),
      memberExpiryMs: EXPIRY_MS,
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const folder = freshFolder();
    const rulesFile = sharedRulesFile(folder, GROUPS, EVALUATORS);
    const configFile = path.join(folder, 'prometheus.yml');
    writeFileSync(configFile, `rule_files: [${rulesFile}]\n`);
    const evaluators: Node[] = [];
    const beforeMs = Date.now() - MADE_UP_MAX_MS;
    for (const instance of EVALUATORS) {
      // Each reads its own name in it.
      writeFileSync(rulesFile, rulesBy(instance, GROUPS));
      const env = clocks.get(instance)?.env;
      const node = await startNode('alert-evaluator', instance, {
        natsUrl: cluster.nats.url,
        zone: '',
        configFile,
        env,
        memberExpiryMs: EXPIRY_MS,
      });
      await node.ready();
      evaluators.push(node);
    }
    const describe = (): string => evaluators.map((node) => node.output().slice(-2000)).join('\n');
    await waitFor('all members', () => seesMembers(gateway, cluster.nodes.length + evaluators.length), {
      timeoutMs: 60_000,
    });
    const { heldBy, holderOf } = await watchLeases(cluster.nats.url, rulesFile, GROUPS, EXPIRY_MS);
    await waitFor(
      'both hold leases',
      () =>
        Promise.resolve(
          EVALUATORS.every((name) => heldBy(name).length > 0) &&
            GROUPS.every((group) => holderOf(group) !== ''),
        ),
      { timeoutMs: 60_000, describe },
    );
    const holders = (): string[] => GROUPS.map(holderOf);
    const before = holders();
    const moves = movesOf(holders, onTestFinished);
    const settled = { beforeMs, sinceMs: Date.now() };
    const { epoch } = await membersOf(gateway);
    // So long ago that it is the past of every clock here but a gateway's that is behind.
    const load = new ClusterLoad({ gateways: [gateway], startMs: Date.now() - 600_000 });
    onTestFinished(() => load.stop());

    let step = 0;
    for (const { name, offset } of chooseSteps(random, stepped)) {
      const what = `step ${++step}: ${name} by ${offset / HOUR} h`;
      load.enter(what);
      const sinceMs = performance.now();
      clocks.get(name)!.step(offset);
      await sleep(500 + random() * 1_000);
      // Sometimes it jumps on before it is right.
      if (random() < 0.3) clocks.get(name)!.step(name.startsWith('gateway') ? 2 * HOUR : -offset);
      if (random() < 0.3) await seal(gateway);
      await sleep(1_000);
      expect([what, holders()]).toEqual([what, before]);
      if (step <= stepped.length && !name.startsWith('gateway')) await namesClock(gateway, name);
      clocks.get(name)!.step(0);
      const rightMs = Date.now();
      await waitFor(
        `${what}: groups are evaluated at the true time again`,
        () => areEvaluated(gateway, rightMs),
        {
          timeoutMs: 60_000,
          describe,
        },
      );
      expect([
        what,
        ...load.failedAttempts('write', sinceMs),
        ...load.failedAttempts('query', sinceMs),
      ]).toEqual([what]);
      expect([what, holders(), (await membersOf(gateway)).epoch]).toEqual([what, before, epoch]);
      expect([what, ...moves]).toEqual([what]);
      process.stdout.write(`${what}\n`);
    }
    await load.stop();
    expect(load.failures).toEqual([]);
    await seal(gateway);
    expect((await missingAt(gateway, load.acknowledged)).slice(0, 5)).toEqual([]);
    const slots = await slotsOf(gateway, settled);
    expect([...slots].filter(([, by]) => by.length > 1)).toEqual([]);
    expect(slots.size).toBeGreaterThan(GROUPS.length * STEPS);
    console.log(
      `R22: ${STEPS} steps, seed ${SEED}: ${load.acknowledged.length * LOAD_SERIES} samples acknowledged, 0 lost, ${load.queries} queries, 0 failed; ` +
        `${slots.size} slots of rule groups, none evaluated by two`,
    );
  },
);
