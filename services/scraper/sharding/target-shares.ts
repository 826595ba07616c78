// The share of targets that falls to this scraper. One scraper, by lease, asks the others every few seconds what their targets cost, and
// tells them in the same call whose each bucket is; a change takes effect for all at one moment, a second later. What nobody told is
// decided by hash (share-record.ts), so a scraper that dies is replaced without anybody being asked.
import { Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Lease } from '../../lib/transport/control-plane.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import type { BalanceRequest, BalanceResponse } from '../../lib/wire/contracts.ts';
import { planOwners, skewOf } from './share-plan.ts';
import {
  BUCKETS,
  bucketOf,
  isNewer,
  ownersUnder,
  ownsWithoutRecord,
  type ShareRecord,
} from './share-record.ts';

const LEASE = 'target-shares';
/** Between two rounds of the holder. A joiner gets its share at the next one. */
const ROUND_MS = 5_000;
const ROUND_TIMEOUT_MS = 2_000;
/** From a decision until it takes effect: all have heard of it by then. */
const NOTICE_MS = 1_000;
/** Above this skew targets move, once it has lasted for so many rounds: a target that is slow to come up is no reason. */
const SKEW_MAX = 0.08;
const SKEW_ROUNDS = 3;
/** Instances of a record, and so the scrapers of a cluster: their positions are 16 bits. */
const INSTANCES_MAX = 0xffff;

/** Another scraper. */
export interface SharePeer {
  readonly instance: string;
  readonly balance: (request: BalanceRequest, context: CallContext) => Promise<BalanceResponse>;
}

export interface TargetSharesDeps {
  readonly instance: string;
  /** Live scrapers, this one among them once it is ready; sorted. */
  readonly live: () => readonly string[];
  /** Calls back when `live` may answer otherwise. */
  readonly onMembers: (listener: () => void) => void;
  readonly others: () => readonly SharePeer[];
  readonly tryAcquire: (name: string) => Promise<Lease | undefined>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly roundMs?: number;
}

export class TargetShares {
  readonly #deps: TargetSharesDeps;
  readonly #stopping = new AbortController();
  readonly #listeners = new Set<() => void>();
  #costs: () => Float64Array = () => new Float64Array(BUCKETS);
  /** In force. */
  #record: ShareRecord | undefined;
  /** Announced, in force from its time on. */
  #next: ShareRecord | undefined;
  /** Owners by bucket under the record; undefined without one. */
  #owners: (string | undefined)[] | undefined;
  #live: readonly string[];
  #lease: Lease | undefined;
  #keeping: Promise<void> | undefined;
  /** What each other scraper last said of its buckets. */
  readonly #told = new Map<string, Float64Array>();
  #skewedRounds = 0;
  #skew = 0;
  #moved = 0;

  constructor(deps: TargetSharesDeps) {
    this.#deps = deps;
    this.#live = deps.live();
    deps.onMembers(() => this.#follow());
    this.#register(deps.registry);
  }

  /** Whether this scraper scrapes the target of that key. */
  owns(targetKey: string): boolean {
    const { instance } = this.#deps;
    if (this.#owners === undefined) return ownsWithoutRecord(instance, this.#live, targetKey);
    return this.#owners[bucketOf(targetKey)] === instance;
  }

  /** Calls back when `owns` may answer otherwise. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Begins to share out. @param costs  What this scraper's targets cost, by bucket. */
  start(costs: () => Float64Array): void {
    this.#costs = costs;
    this.#keeping ??= this.#keep();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#keeping;
    await this.#lease?.release().catch(() => undefined);
    this.#lease = undefined;
  }

  /** The handler of the call: takes the holder's record over where it is newer, and says what the targets here cost. */
  balance(request: BalanceRequest): Promise<BalanceResponse> {
    const record = recordOf(request);
    if (record !== undefined) this.#accept(record);
    const costs = this.#costs();
    const response: BalanceResponse = { buckets: [], costs: [], newest: undefined };
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      if (costs[bucket] === 0) continue;
      response.buckets.push(bucket);
      response.costs.push(costs[bucket]!);
    }
    const newest = this.#newest();
    if (newest !== undefined && (record === undefined || isNewer(newest, record)))
      response.newest = toWire(newest);
    return Promise.resolve(response);
  }

  #newest(): ShareRecord | undefined {
    return this.#next ?? this.#record;
  }

  async #keep(): Promise<void> {
    const { clock, logger, roundMs = ROUND_MS } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        if (await this.#holdsLease()) await this.#round();
        else if (this.#newest() === undefined) await this.#askAll();
      } catch (caught) {
        logger.debug({ err: toAppError(caught) }, 'targets could not be shared out by their cost');
      }
      await clock.sleep(roundMs, signal).catch(() => undefined);
    }
  }

  async #holdsLease(): Promise<boolean> {
    if (this.#lease?.isHeld() === true) return true;
    this.#lease = await this.#deps.tryAcquire(LEASE);
    this.#skewedRounds = 0;
    return this.#lease?.isHeld() === true;
  }

  /** Asks all, decides, and tells all when something changed. */
  async #round(): Promise<void> {
    const live = this.#live;
    if (!live.includes(this.#deps.instance)) return;
    const answered = await this.#askAll();
    // All of them, or a scraper of an earlier version would go by the hash while the others go by the record.
    if (!live.every((instance) => answered.has(instance))) return;
    if (this.#next !== undefined || live !== this.#live) return;
    // After NATS was emptied tokens begin anew, and all would refuse what is older than the record that they have.
    const lease = this.#lease!;
    const term = this.#record?.term ?? 0;
    if (lease.token < term && !(await lease.raise(term))) return;
    const record = this.#decide(live);
    if (record === undefined) return;
    this.#accept(record);
    await this.#askAll();
  }

  async #askAll(): Promise<ReadonlySet<string>> {
    const { clock, instance, others } = this.#deps;
    const answered = new Set([instance]);
    const newest = this.#newest();
    const request: BalanceRequest = newest === undefined ? NO_RECORD : toWire(newest);
    const timeout = new AbortController();
    const timer = clock.sleep(ROUND_TIMEOUT_MS, timeout.signal).then(
      () => timeout.abort(),
      () => undefined,
    );
    await Promise.all(
      others().map(async (peer) => {
        try {
          const answer = await peer.balance(request, { signal: timeout.signal });
          this.#told.set(peer.instance, columnOf(answer));
          const theirs = answer.newest === undefined ? undefined : recordOf(answer.newest);
          if (theirs !== undefined) this.#accept(theirs);
          answered.add(peer.instance);
        } catch (caught) {
          this.#deps.logger.debug(
            { peer: peer.instance, err: toAppError(caught) },
            'a scraper did not say what its targets cost',
          );
        }
      }),
    );
    timeout.abort();
    await timer;
    return answered;
  }

  /** A new record, when there is a reason for one. */
  #decide(live: readonly string[]): ShareRecord | undefined {
    const record = this.#record;
    const costs = this.#allCosts(live);
    const owners = ownersUnder(record ?? EMPTY, live) as string[];
    this.#skew = skewOf(owners, live, costs);
    this.#skewedRounds = this.#skew > SKEW_MAX ? this.#skewedRounds + 1 : 0;
    const hasMembersChanged = record === undefined || record.instances.join(' ') !== live.join(' ');
    if (!hasMembersChanged && this.#skewedRounds < SKEW_ROUNDS) return undefined;
    const planned = planOwners(owners, live, costs);
    const moves = planned.filter((owner, bucket) => owner !== owners[bucket]).length;
    this.#skewedRounds = 0;
    if (!hasMembersChanged && moves === 0) return undefined;
    this.#moved += moves;
    const position = new Map(live.map((instance, i) => [instance, i]));
    const skew = skewOf(planned, live, costs);
    this.#deps.logger.info(
      { scrapers: live.length, moves, skew: Number(skew.toFixed(3)) },
      'targets are shared out by their cost',
    );
    return {
      term: this.#lease!.token,
      version: (record?.version ?? 0) + 1,
      fromMs: this.#deps.clock.nowMs() + NOTICE_MS,
      instances: live,
      owners: Uint16Array.from(planned, (owner) => position.get(owner)!),
    };
  }

  #allCosts(live: readonly string[]): Float64Array {
    const sum = this.#costs().slice();
    for (const [instance, costs] of this.#told) {
      if (!live.includes(instance)) this.#told.delete(instance);
      // During a hand-over two have a target for a moment: the greater figure is the right one.
      else for (const [bucket, cost] of costs.entries()) sum[bucket] = Math.max(sum[bucket]!, cost);
    }
    return sum;
  }

  /** Takes a newer record over, at its time. */
  #accept(record: ShareRecord): void {
    if (!isNewer(record, this.#newest())) return;
    this.#next = record;
    const { clock } = this.#deps;
    clock
      .sleep(Math.min(Math.max(0, record.fromMs - clock.nowMs()), 2 * NOTICE_MS), this.#stopping.signal)
      .then(() => {
        if (this.#next !== record) return;
        this.#next = undefined;
        this.#record = record;
        this.#change();
      })
      .catch(() => undefined);
  }

  #follow(): void {
    const live = this.#deps.live();
    if (live.join(' ') === this.#live.join(' ')) return;
    this.#live = live;
    this.#change();
  }

  #change(): void {
    this.#owners = this.#record === undefined ? undefined : ownersUnder(this.#record, this.#live);
    for (const listener of this.#listeners) listener();
  }

  #register(registry: Registry): void {
    const registers = [registry];
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    };
    gauge(
      'tidemark_scraper_share_version',
      'Number of the record that says who scrapes what; 0: by hash.',
      () => this.#record?.version ?? 0,
    );
    gauge(
      'tidemark_scraper_share_skew_ratio',
      'How far the busiest scraper is above the mean; known to the one that shares out.',
      () => this.#skew,
    );
    gauge(
      'tidemark_scraper_share_moved_buckets',
      'Buckets of targets that this scraper gave to others than before, of 1024.',
      () => this.#moved,
    );
  }
}

const NO_RECORD: BalanceRequest = { term: 0, version: 0, fromMs: 0, instances: [], owners: new Uint8Array() };
/** Whose every bucket is decided by hash. */
const EMPTY: ShareRecord = {
  term: 0,
  version: 0,
  fromMs: 0,
  instances: [],
  owners: new Uint16Array(BUCKETS),
};

function toWire({ term, version, fromMs, instances, owners }: ShareRecord): BalanceRequest {
  const bytes = new Uint8Array(BUCKETS * 2);
  const view = new DataView(bytes.buffer);
  for (const [bucket, owner] of owners.entries()) view.setUint16(2 * bucket, owner, true);
  return { term, version, fromMs, instances: [...instances], owners: bytes };
}

/** Undefined for none. @throws AppError `bad_data` for one that cannot be. */
function recordOf({
  term,
  version,
  fromMs,
  instances,
  owners: bytes,
}: BalanceRequest): ShareRecord | undefined {
  if (version === 0) return undefined;
  if (bytes.length !== BUCKETS * 2 || instances.length === 0 || instances.length > INSTANCES_MAX)
    throw new AppError(
      'bad_data',
      `a record of shares with ${bytes.length} bytes and ${instances.length} scrapers`,
    );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const owners = Uint16Array.from({ length: BUCKETS }, (_, bucket) => view.getUint16(2 * bucket, true));
  if (owners.some((owner) => owner >= instances.length))
    throw new AppError('bad_data', 'a record of shares names a scraper that it does not have');
  return { term, version, fromMs, instances, owners };
}

function columnOf({ buckets, costs }: BalanceResponse): Float64Array {
  const column = new Float64Array(BUCKETS);
  buckets.forEach((bucket, i) => {
    const cost = costs[i] ?? 0;
    if (bucket < BUCKETS && cost > 0 && Number.isFinite(cost)) column[bucket] = cost;
  });
  return column;
}
