// Replicas that missed something, and how they get it back: real logs, a real distributor, calls in this process.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { waitFor } from '../../../test/support/programs.ts';
import { randomOf } from '../../../test/support/random.ts';
import {
  PARTITIONS,
  partitionOfSeries,
  ReplicaRig,
  type ReplicaRigOptions,
} from '../../../test/support/replica-rig.ts';
import { AppendOutcome, MatchType } from '../../lib/wire/contracts.ts';

const START_MS = 1_700_000_000_000;
const SERIES = Array.from({ length: 24 }, (_, i) => `s${i}`);
const ALL = new Set(Array.from({ length: PARTITIONS }, (_, partition) => partition));
const ABC = ['a', 'b', 'c'];

const rigs: ReplicaRig[] = [];
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

async function startRig(options: ReplicaRigOptions = { instances: ABC }): Promise<ReplicaRig> {
  const rig = new ReplicaRig(options);
  rigs.push(rig);
  for (const instance of options.instances) await rig.start(instance);
  rig.isPlaced = true;
  return rig;
}

async function write(rig: ReplicaRig, from: number, to: number, names = SERIES): Promise<void> {
  for (let i = from; i < to; i++) await rig.write(names, START_MS + i * 1000, i);
}

const isComplete = (rig: ReplicaRig, instance: string) => async () =>
  (await rig.completeAt(instance)).length === rig.ownedBy(instance).size;

test('a replica that got everything says so when it is asked, and only then', async () => {
  const rig = await startRig();
  await write(rig, 0, 20);
  for (const instance of ABC) {
    expect(await rig.completeAt(instance)).toHaveLength(PARTITIONS);
    const unasked = await rig.coverageOf(instance, false);
    expect(unasked?.partitions.filter(({ complete }) => complete)).toEqual([]);
    expect(await rig.missingAt(instance, ALL)).toEqual([]);
  }
});

test('R13: away for a while and back: it has everything before it is ready', async () => {
  const rig = await startRig();
  await write(rig, 0, 10);
  await rig.stop('c');
  await write(rig, 10, 60);
  await rig.start('c');
  expect(await rig.missingAt('c', ALL)).toEqual([]);
  expect(await rig.completeAt('c')).toHaveLength(PARTITIONS);
  expect(await rig.metric('c', 'tidemark_ingester_fetched_samples_total')).toBe(50 * SERIES.length);
});

test('passed over while it runs: the hole is found by the next write, or by asking', async () => {
  const rig = await startRig();
  await write(rig, 0, 5);
  rig.writable.delete('b');
  await write(rig, 5, 30);
  rig.writable.add('b');
  await write(rig, 30, 31);
  await waitFor('b has caught up', isComplete(rig, 'b'));
  expect(await rig.missingAt('b', ALL)).toEqual([]);
  rig.writable.delete('b');
  await write(rig, 31, 33);
  // Nobody tells it: it must not say that it is complete before it has asked.
  const claimed = new Set(await rig.completeAt('b'));
  expect(await rig.missingAt('b', claimed)).toEqual([]);
  await waitFor('b has caught up', isComplete(rig, 'b'));
  expect(await rig.missingAt('b', ALL)).toEqual([]);
});

test('a delete waits until all is here that others acknowledged, and a write that comes twice does not bring it back', async () => {
  const rig = await startRig();
  const origin = 'ab'.repeat(8);
  const name = SERIES[0]!;
  const range = { minTimeMs: 0, maxTimeMs: 2 ** 40, createdAtMs: 1, actor: 'test' };
  const matchers = [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'series', value: name }];
  const remove = (instance: string) =>
    rig
      .of(instance)
      .client.deleteSeries(
        { tenant: 'anonymous', deleteId: '7'.repeat(32), matchers, ...range },
        { signal: new AbortController().signal },
      );
  for (const instance of ['a', 'b']) await rig.append(instance, rig.placement.epoch, name, { origin });
  // Cut off it cannot know what the others have.
  rig.reachable.delete('c');
  await expect(remove('c')).rejects.toMatchObject({
    ...{ code: 'unavailable', message: expect.stringMatching(/of 8 partitions .* try again/) },
  });
  rig.reachable.add('c');
  for (const instance of ABC) {
    await waitFor(`${instance} deletes`, () =>
      remove(instance).then(
        () => true,
        () => false,
      ),
    );
  }
  expect(await rig.append('c', rig.placement.epoch, name, { origin })).toBe(
    AppendOutcome.APPEND_OUTCOME_DURABLE,
  );
  for (const instance of ABC) expect([...(await rig.contentOf(instance)).keys()], instance).toEqual([]);
  await rig.append('c', rig.placement.epoch, name);
  expect([...(await rig.contentOf('c')).keys()]).toEqual([`w/${name}`]);
});

/** A write that c alone has, and that others take out of its log only when `arrive` is called. */
async function leaveUnderway(rig: ReplicaRig, series: string): Promise<{ arrive: () => void }> {
  const underway = Promise.withResolvers<void>();
  const arrives = Promise.withResolvers<void>();
  const { replication } = rig.of('c');
  const { fetchWrites } = replication;
  Object.assign(replication, {
    async *fetchWrites(...call: Parameters<typeof fetchWrites>) {
      for await (const message of fetchWrites(...call)) {
        if (message.part?.$case === 'write') {
          underway.resolve();
          await arrives.promise;
        }
        yield message;
      }
    },
  });
  await rig.append('c', rig.placement.epoch, series);
  await underway.promise;
  return { arrive: () => arrives.resolve() };
}

test('a replica that was slow once is asked again when the one that was asked in its place has more than a quorum', async () => {
  const rig = await startRig();
  const { arrive } = await leaveUnderway(rig, SERIES[0]!);
  const { replication } = rig.of('b');
  const { heldWrites } = replication;
  let isSlow = true;
  Object.assign(replication, {
    heldWrites: async (...call: Parameters<typeof heldWrites>) => {
      if (isSlow) await new Promise((resolve) => setTimeout(resolve, 700));
      return heldWrites(...call);
    },
  });
  try {
    expect(await rig.completeAt('a')).not.toHaveLength(PARTITIONS);
    isSlow = false;
    await waitFor('a has all', async () => (await rig.completeAt('a')).length === PARTITIONS);
  } finally {
    arrive();
  }
});

test('what another replica took out of its log before a delete is not taken after it', async () => {
  const rig = await startRig();
  const name = SERIES[0]!;
  const remove = (instance: string) =>
    rig.of(instance).client.deleteSeries(
      {
        ...{ tenant: 'anonymous', deleteId: '7'.repeat(32), createdAtMs: 1, actor: 'test', seriesMax: 0 },
        matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'series', value: name }],
        ...{ minTimeMs: 0, maxTimeMs: 2 ** 40 },
      },
      { signal: new AbortController().signal },
    );
  // On its way from c, and nobody needs it for a proof: one replica alone has it.
  const { arrive } = await leaveUnderway(rig, name);
  try {
    // A proof that takes too long is asked for again, as whoever deletes does.
    for (const instance of ['c', 'a', 'b']) await waitFor(`${instance} has deleted`, () => remove(instance));
  } finally {
    arrive();
  }
  for (const instance of ABC)
    await waitFor(
      `${instance} has caught up`,
      async () => (await rig.completeAt(instance)).length === PARTITIONS,
    );
  await waitFor('all that c has is accounted for', async () =>
    (await Promise.all(['a', 'b'].map((each) => rig.metric(each, 'tidemark_ingester_lacking_writes')))).every(
      (count) => count === 0,
    ),
  );
  for (const instance of ABC) expect([...(await rig.contentOf(instance)).keys()], instance).toEqual([]);
});

test('metadata comes along: to who was away, to a new owner, and it stays there', async () => {
  const metrics = Array.from({ length: 600 }, (_, i) => `metric_${i}`);
  const metadata = metrics.map((metric) => ({ metric, type: 'gauge', help: `help of ${metric}`, unit: '' }));
  const rig = await startRig();
  await rig.stop('c');
  await rig.write(SERIES, START_MS, 1, metadata);
  await rig.start('c');
  expect(await rig.metricsAt('c')).toEqual(metrics.toSorted());
  // All owners are new.
  for (const instance of ['d', 'e', 'f']) await rig.start(instance);
  rig.place(['d', 'e', 'f']);
  for (const instance of ['d', 'e', 'f']) {
    await waitFor(
      `${instance} knows all metrics`,
      async () => (await rig.metricsAt(instance)).length === metrics.length,
    );
    await rig.stop(instance);
  }
  for (const instance of ABC) await rig.stop(instance);
  rig.isPlaced = false;
  await rig.start('d');
  expect(await rig.metricsAt('d')).toEqual(metrics.toSorted());
});

test('cut from every other owner it says nothing of completeness', async () => {
  const rig = await startRig();
  await write(rig, 0, 5);
  rig.reachable.delete('a');
  expect(await rig.completeAt('a')).toEqual([]);
  // One of the others is enough: no quorum is without a or b.
  rig.reachable.add('a');
  rig.reachable.delete('c');
  expect(await rig.completeAt('a')).toHaveLength(PARTITIONS);
});

test('R41: a wiped disk comes back from the others, and is not read before', async () => {
  const rig = await startRig();
  await write(rig, 0, 10);
  await rig.stop('a');
  rig.wipe('a');
  await write(rig, 10, 20);
  await rig.stop('b');
  // Only c can be asked: a write before the loss may have been acknowledged by a and b alone.
  await rig.start('a');
  await expect(rig.contentOf('a')).rejects.toMatchObject({ code: 'unavailable' });
  expect(await rig.metric('a', 'tidemark_ingester_recovering')).toBe(1);
  await rig.start('b');
  await waitFor('a is read again', async () => (await rig.metric('a', 'tidemark_ingester_recovering')) === 0);
  expect(await rig.missingAt('a', ALL)).toEqual([]);
  expect(await isComplete(rig, 'a')()).toBe(true);
  await rig.stop('a');
  await rig.start('a');
  expect(await rig.missingAt('a', ALL)).toEqual([]);
});

test('R7: a damaged record of the log comes back from another replica', async () => {
  const rig = await startRig();
  await write(rig, 0, 40);
  await rig.stop('a');
  const folder = path.join(rig.dataDirOf('a'), 'log');
  const logs = readdirSync(folder).filter((name) => name.endsWith('.log'));
  const first = logs.sort().find((name) => statSync(path.join(folder, name)).size > 5000)!;
  const bytes = readFileSync(path.join(folder, first));
  for (let at = 300; at < bytes.length; at += 900) bytes[at]! ^= 0xff;
  writeFileSync(path.join(folder, first), bytes);
  await rig.start('a');
  expect(await rig.metric('a', 'tidemark_ingester_log_quarantined_total')).toBeGreaterThan(0);
  await waitFor(
    'a is whole again',
    async () => (await rig.metric('a', 'tidemark_ingester_recovering')) === 0,
  );
  expect(await rig.missingAt('a', ALL)).toEqual([]);
  expect(await rig.completeAt('a')).toHaveLength(PARTITIONS);
});

describe('owners change', () => {
  test('R20: a new owner has what was written before it, stale writers are refused, and who left is not needed', async () => {
    const rig = await startRig();
    await write(rig, 0, 30);
    await rig.start('d');
    const before = rig.placement;
    rig.place(['a', 'b', 'c', 'd']);
    await write(rig, 30, 40);
    const owned = rig.ownedBy('d');
    expect(owned.size).toBeGreaterThan(0);
    await waitFor('d has caught up', isComplete(rig, 'd'));
    expect(await rig.missingAt('d', owned)).toEqual([]);
    // From their answers on the old owners take no more of what is not theirs, and of what is theirs still from anybody.
    const moved = [...owned].find((partition) => !before.replicas[partition]!.includes('d'))!;
    const gone = before.replicas[moved]!.find((owner) => !rig.placement.replicas[moved]!.includes(owner))!;
    const nameIn = (partition: number) => SERIES.find((name) => partitionOfSeries(name) === partition)!;
    expect(await rig.append(gone, before.epoch, nameIn(moved))).toBe(AppendOutcome.APPEND_OUTCOME_PARTIAL);
    expect(await rig.metric(gone, 'tidemark_ingester_stale_sections_total')).toBe(1);
    const stayed = rig.placement.replicas.findIndex(
      (owners) => !owners.includes('d') && owners.includes(gone),
    );
    const isThere = stayed >= 0 && nameIn(stayed) !== undefined;
    if (isThere)
      expect(await rig.append(gone, before.epoch, nameIn(stayed))).toBe(AppendOutcome.APPEND_OUTCOME_DURABLE);
    rig.forgetFormer();
    await rig.stop(gone);
    await waitFor('d is complete still', isComplete(rig, 'd'));
    expect(await rig.missingAt('d', owned)).toEqual([]);
  });

  test('leaving: released once the others have everything', async () => {
    const rig = await startRig({ instances: [...ABC, 'd'] });
    await write(rig, 0, 20);
    const context = { signal: new AbortController().signal };
    const leave = (onlyAsk: boolean) => rig.of('d').replication.leave({ leave: true, onlyAsk }, context);
    expect(await leave(true)).toMatchObject({ leaving: false, released: false });
    expect(await leave(false)).toMatchObject({ leaving: true, released: false });
    rig.place(ABC);
    await write(rig, 20, 25);
    expect(await leave(true)).toMatchObject({
      released: false,
      state: expect.stringContaining('new owners'),
    });
    for (const instance of ABC) await waitFor(`${instance} has everything`, isComplete(rig, instance));
    rig.forgetFormer();
    expect(await leave(true)).toMatchObject({ leaving: true, released: true });
    await rig.stop('d');
    for (const instance of ABC) {
      expect(await rig.missingAt(instance, ALL)).toEqual([]);
      await waitFor(`${instance} answers alone`, isComplete(rig, instance));
    }
  });
});

/** With what it lost: a second disk must not go before that. */
async function startAgain(rig: ReplicaRig, instance: string): Promise<void> {
  await rig.start(instance);
  await waitFor(
    `${instance} is read`,
    async () => (await rig.metric(instance, 'tidemark_ingester_recovering')) === 0,
  );
}

const SEEDS = Number(process.env.TIDEMARK_REPLICA_SEEDS ?? 6);
const FIRST_SEED = Number(process.env.TIDEMARK_REPLICA_SEED ?? 1);

test(`R8: cuts, restarts, wiped disks and new owners in random order: who says complete is complete, and in the end all are (${SEEDS} seeds)`, async () => {
  let claims = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const random = randomOf(seed);
    const any = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const names = ['a', 'b', 'c', 'd'];
    const rig = await startRig({ instances: random() < 0.5 ? ABC : names });
    if (!rig.writable.has('d')) await rig.start('d');
    const away = new Set<string>();
    for (let step = 0; step < 25; step++) {
      const chosen = any(names);
      const dice = random();
      if (dice < 0.15) {
        if (rig.writable.has(chosen)) rig.writable.delete(chosen);
        else if (!away.has(chosen)) rig.writable.add(chosen);
      } else if (dice < 0.3 && away.size === 0) {
        away.add(chosen);
        await rig.stop(chosen);
        // One disk is lost at a time, and comes back before the next.
        if (random() < 0.3) rig.wipe(chosen);
      } else if (dice < 0.45 && away.size > 0) {
        for (const instance of away) await startAgain(rig, instance);
        away.clear();
      } else if (dice < 0.5 && away.size === 0) rig.place(random() < 0.5 ? ABC : names);
      const some = SERIES.filter(() => random() < 0.4);
      if (some.length > 0) await rig.write(some, START_MS + step * 1000, step).catch(() => undefined);
      if (away.has(chosen) || random() < 0.4) continue;
      const complete = await rig.completeAt(chosen).catch(() => []);
      claims += complete.length;
      expect([seed, step, chosen, await rig.missingAt(chosen, new Set(complete)).catch(() => [])]).toEqual([
        ...[seed, step, chosen],
        [],
      ]);
    }
    for (const instance of away) await startAgain(rig, instance);
    for (const instance of names) rig.writable.add(instance);
    for (const instance of names) {
      await waitFor(`seed ${seed}: ${instance} has everything`, isComplete(rig, instance));
      expect([seed, instance, await rig.missingAt(instance, rig.ownedBy(instance))]).toEqual([
        seed,
        instance,
        [],
      ]);
    }
    await rig.close();
    rigs.length = 0;
  }
  console.log(
    `replicas: seeds ${FIRST_SEED}..${FIRST_SEED + SEEDS - 1}, ${claims} claims of completeness, 0 wrong`,
  );
  expect(claims).toBeGreaterThan(SEEDS);
}, 300_000);
