// One run: a cluster starts, writers and an oracle work, faults happen, everything heals, and then all that was acknowledged is
// there, on every path: in heads, in blocks, after a restart of everything.
import { lackOfBucket, RemovalJudge } from './bucket-check.ts';
import { type Canary, plantCanary } from './canaries.ts';
import { ask, newTally, seeEvaluated, type Tally, Writer } from './client.ts';
import { findDivergence } from './convergence.ts';
import { Deleter } from './deleter.ts';
import { Effects } from './evaluator.ts';
import { Ledger } from './ledger.ts';
import type { Machine } from './machine.ts';
import { changeMembers } from './membership.ts';
import { runNemesis } from './nemesis.ts';
import type { SimBucket } from './sim-bucket.ts';
import { BLOCK_RANGE_MS, type BucketUse, SimCluster, type SimNode } from './sim-cluster.ts';
import { World } from './world.ts';

export interface RunOptions {
  readonly seed: number;
  readonly canary?: Canary | undefined;
  readonly isVerbose: boolean;
  readonly faults?: readonly string[] | undefined;
  /** Series are deleted while everything else happens. */
  readonly deletes: boolean;
  /** An ingester joins and two leave, one after the other, instead of what the seed says. */
  readonly scaleIn: boolean;
}

export interface RunResult {
  readonly seed: number;
  readonly tally: Tally;
  readonly faults: ReadonlyMap<string, number>;
  /** The same in every run of the seed. */
  readonly trace: number;
  readonly events: number;
  /** Virtual milliseconds. */
  readonly worldMs: number;
  /** The longest that replicas took to hold the same once nobody wrote, virtual milliseconds. */
  readonly convergedMs: number;
  /** What holders of leases did, and what they were kept from. */
  readonly effects: number;
  readonly fenced: number;
  /** Objects that stores removed from the bucket. */
  readonly removals: number;
  /** Processes that ended by themselves. */
  readonly deaths: readonly string[];
}

const WRITERS = 2;
const SERIES = 8;
const WRITE_PAUSE_MS = 500;
const ASK_PAUSE_MS = 1_500;
const FAULT_MS = 40_000;
const FAULT_INTERVAL_MS = 2_500;
/** After the last fault a cluster answers completely within this, and stores hold the same: a scrub and a copy. */
const RECOVERY_MS = 60_000;
/** Longer than the expiry of members and a replica's patience at its start. */
const SETTLE_MS = 15_000;
/** After the last fault and the last write ingesters hold the same within this: less than sealing takes, which would hide what one lacks. */
const CATCH_UP_MS = 12_000;
/** Between two comparisons of replicas. */
const CONVERGENCE_PAUSE_MS = 1_000;
/** Stores that lost their disks wait for the bucket for so long at most. */
const BUCKET_AWAY_MS = 8_000;
/** Who leaves hands over what is sealed and compared in the meantime. */
const LEAVE_MS = 120_000;
/** Runs in which somebody joins, for ingesters and for stores. */
const CHANGE_SHARE = 0.3;
/** Writers of whose series some are deleted. */
const DELETE_SHARE = 0.4;
const EVENTS_MAX = 3_000_000;

/** Half of the runs have object storage, a quarter disks that are its cache. */
function bucketUseOf(seed: number): BucketUse {
  return (['cached', 'none', 'kept', 'none'] as const)[seed % 4]!;
}

/** Runs one seed. What goes wrong is in the tally; it throws only when the simulation itself is broken. */
export async function runSeed(options: RunOptions, machine: Machine): Promise<RunResult> {
  const world = new World(options.seed);
  machine.use(world);
  const run = new Run(world, options);
  await world.run(run.run(), EVENTS_MAX).catch((caught: unknown) => {
    run.tally.wrong.push(caught instanceof Error ? (caught.stack ?? caught.message) : String(caught));
  });
  const { tally, faults, cluster } = run;
  return {
    ...{ seed: options.seed, tally, faults, deaths: cluster.deaths },
    ...{ effects: run.effects.count, fenced: run.effects.fenced, removals: run.removals?.removals ?? 0 },
    ...{ trace: world.trace, events: world.events, worldMs: world.nowMs, convergedMs: run.convergedMs },
  };
}

class Run {
  readonly cluster: SimCluster;
  readonly effects: Effects;
  readonly removals: RemovalJudge | undefined;
  readonly tally = newTally();
  readonly faults = new Map<string, number>();
  readonly #world: World;
  readonly #options: RunOptions;
  readonly #writers: Writer[];
  readonly #deleters: Deleter[];
  /** Owners by epoch, as any process knows them. */
  readonly #placements = new Map<number, string>();
  #isAsking = true;
  /** The longest that replicas took to hold the same, virtual milliseconds. */
  convergedMs = 0;

  constructor(world: World, options: RunOptions) {
    this.#world = world;
    this.#options = options;
    const counts = {
      ingester: world.chance(0.3) ? 4 : 3,
      store: world.chance(0.3) ? 3 : 2,
      querier: 2,
      gateway: 2,
      'alert-evaluator': 2,
    };
    const view = plantCanary(options.canary);
    this.effects = new Effects(world, this.tally.wrong);
    this.cluster = new SimCluster(world, {
      bucketUse: bucketUseOf(options.seed),
      ...{ counts, isVerbose: options.isVerbose, effects: this.effects },
      ...view,
    });
    const { bucket } = this.cluster;
    this.removals = bucket && new RemovalJudge(this.cluster, bucket, this.tally.wrong);
    this.#writers = Array.from(
      { length: WRITERS },
      (_, i) => new Writer(new Ledger(`w${i}`, SERIES), this.cluster, this.tally),
    );
    this.#deleters = this.#writers
      .filter(() => world.chance(DELETE_SHARE))
      .map(({ ledger }) => new Deleter(this.cluster, ledger, this.tally));
  }

  async run(): Promise<void> {
    const { cluster } = this;
    for (const node of cluster.nodes) cluster.start(node);
    await this.#untilWhole('at the start');
    const writing = this.#writers.map((writer) => writer.run(WRITE_PAUSE_MS));
    const asking = this.#askForever();
    const { faults, deletes } = this.#options;
    const deleting = deletes ? this.#deleters.map((deleter) => deleter.runOnce(FAULT_MS)) : [];
    const changing = this.#changeMembers();
    await runNemesis(
      cluster,
      { durationMs: FAULT_MS, intervalMs: FAULT_INTERVAL_MS, ...(faults === undefined ? {} : { faults }) },
      this.faults,
      (line) => this.#log(line),
    );
    this.#log('all is healed');
    await this.#untilMembersChanged(changing);
    for (const deleter of this.#deleters) deleter.stop();
    await Promise.all(deleting);
    await this.#untilWhole('after the faults');
    for (const writer of this.#writers) writer.stop();
    this.effects.isOver = true;
    await Promise.all(writing);
    // At once: sealing, too, would bring to all what one of them has.
    await this.#untilConverged('after the faults');
    // What was cut off from NATS when all was healed may still be expiring.
    await this.#world.sleep(SETTLE_MS);
    this.#isAsking = false;
    await asking;
    await this.#checkAll('in the end');
    await cluster.seal();
    await this.#checkAll('after sealing');
    // Long enough for heads to drop what is sealed and stores to merge it.
    await this.#world.sleep(BLOCK_RANGE_MS);
    await this.#checkAll('from blocks');
    for (const node of cluster.nodes) cluster.kill(node);
    for (const node of cluster.nodes) {
      node.host.disk.cutPower(this.#world.random);
      cluster.start(node);
    }
    await this.#untilWhole('after the last power cut');
    await this.#checkAll('after the last power cut');
    await this.#untilConverged('after the last power cut');
    if (cluster.bucket !== undefined) await this.#startFrom(cluster.bucket);
  }

  /** In some runs, one change for each role. */
  async #changeMembers(): Promise<void> {
    const world = this.#world;
    const { scaleIn } = this.#options;
    const changes = scaleIn
      ? [{ role: 'ingester' as const, atMs: world.random() * (FAULT_MS / 2), leaves: 2 }]
      : (['ingester', 'store'] as const)
          .filter(() => world.chance(CHANGE_SHARE))
          .map((role) => ({
            role,
            atMs: world.random() * (FAULT_MS / 2),
            leaves: Number(world.chance(0.6)),
          }));
    await Promise.all(
      changes.map((change) => changeMembers(this.cluster, change, this.faults, (line) => this.#log(line))),
    );
  }

  /** Whoever leaves is let go once nothing is in the way any more. */
  async #untilMembersChanged(changing: Promise<void>): Promise<void> {
    let isDone = false;
    const done = changing.then(() => {
      isDone = true;
    });
    const limit = this.#world.sleep(LEAVE_MS);
    await Promise.race([done, limit]);
    if (!isDone) this.tally.wrong.push(`who leaves is not released ${LEAVE_MS} ms after the last fault`);
  }

  /** All stores lose their disks. What was in blocks comes back from the bucket, which is away at first in some runs. */
  async #startFrom(bucket: SimBucket): Promise<void> {
    await this.#untilHolds(bucket);
    const { cluster } = this;
    bucket.weather.isDown = this.#world.chance(0.5);
    for (const node of cluster.of('store')) {
      cluster.kill(node);
      node.host.disk.wipe();
      cluster.start(node);
    }
    await this.#world.sleep(this.#world.random() * BUCKET_AWAY_MS);
    bucket.weather.isDown = false;
    await this.#untilWhole('from the bucket');
    await this.#checkAll('from the bucket');
    await this.#untilConverged('from the bucket');
  }

  /** Nothing is written any more: all that stores hold comes to be in the bucket, whole. */
  async #untilHolds(bucket: SimBucket): Promise<void> {
    const untilMs = this.#world.nowMs + RECOVERY_MS;
    for (;;) {
      const lack = lackOfBucket(this.cluster, bucket);
      if (lack === undefined) return;
      if (this.#world.nowMs > untilMs) {
        this.tally.wrong.push(`after ${RECOVERY_MS} ms without a fault ${lack}`);
        return;
      }
      await this.#world.sleep(CONVERGENCE_PAUSE_MS);
    }
  }

  #ledgers(): Ledger[] {
    return this.#writers.map(({ ledger }) => ledger);
  }

  /** Every querier about every writer. */
  #questions(): (readonly [SimNode, Ledger])[] {
    return this.cluster
      .of('querier')
      .flatMap((querier) => this.#writers.map(({ ledger }) => [querier, ledger] as const));
  }

  #log(line: string): void {
    if (this.#options.isVerbose) process.stderr.write(`${Math.round(this.#world.nowMs)} *** ${line}\n`);
  }

  /** Every writer is answered, and every question in full. */
  async #untilWhole(when: string): Promise<void> {
    const untilMs = this.#world.nowMs + RECOVERY_MS;
    for (const [querier, ledger] of this.#questions()) {
      for (;;) {
        const answer = await ask(this.cluster, ledger, this.tally, when, querier);
        if (answer === 'complete') break;
        if (this.#world.nowMs > untilMs) {
          this.tally.wrong.push(`${when}: no complete answer within ${RECOVERY_MS} ms; ${answer}`);
          return;
        }
        await this.#world.sleep(500);
      }
    }
  }

  /** Nobody writes any more: replicas come to hold the same, by themselves. */
  async #untilConverged(when: string): Promise<void> {
    const sinceMs = this.#world.nowMs;
    for (;;) {
      const difference = await findDivergence(this.cluster, this.#ledgers());
      const tookMs = this.#world.nowMs - sinceMs;
      if (difference === undefined) {
        this.convergedMs = Math.max(this.convergedMs, tookMs);
        return;
      }
      const { what, isOfStores } = difference;
      this.#log(`replicas differ: ${what}`);
      if (tookMs > (isOfStores ? RECOVERY_MS : CATCH_UP_MS)) {
        this.tally.wrong.push(`${when}: replicas differ after ${Math.round(tookMs)} ms: ${what}`);
        return;
      }
      await this.#world.sleep(CONVERGENCE_PAUSE_MS);
    }
  }

  async #askForever(): Promise<void> {
    while (this.#isAsking) {
      await this.#world.sleep(this.#world.random() * 2 * ASK_PAUSE_MS);
      this.#checkPlacements();
      const questions = this.#questions();
      const [querier, ledger] = questions[this.#world.between(0, questions.length - 1)]!;
      const when = `at ${Math.round(this.#world.nowMs)} ms`;
      await ask(this.cluster, ledger, this.tally, when, querier, this.#world.chance(0.3));
    }
  }

  /** Two who believe to hold the lease for the placement may both try: only one of them may have effect. */
  #checkPlacements(): void {
    for (const { host, placement } of this.cluster.nodes) {
      const record = placement();
      if (record === undefined) continue;
      const owners = JSON.stringify([record.ingesters, record.stores]);
      const known = this.#placements.get(record.epoch) ?? owners;
      this.#placements.set(record.epoch, known);
      if (known !== owners)
        this.tally.wrong.push(
          `${host.name} has other owners at epoch ${record.epoch}: ${owners}, not ${known}`,
        );
    }
  }

  async #checkAll(when: string): Promise<void> {
    for (const [querier, ledger] of this.#questions()) {
      const answer = await ask(this.cluster, ledger, this.tally, when, querier);
      if (answer !== 'complete') this.tally.wrong.push(`${when}: ${answer}`);
    }
    for (const querier of this.cluster.of('querier')) await seeEvaluated(this.cluster, querier, this.effects);
  }
}
