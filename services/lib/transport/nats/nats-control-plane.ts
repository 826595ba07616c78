// The control plane over NATS JetStream key-value buckets. Works with nats-server 2.9.10: expiry is judged by the observer's
// monotonic clock since the last revision seen, never by bucket time-outs, and leases move by compare-and-set alone.
// With NATS gone the last known members and placement stay; with NATS back and empty, every member says again what it knows,
// and those that hold samples know it from their disks.
import { randomInt } from 'node:crypto';
import { jetstream } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node';
import type { Clock } from '../../core/clock.ts';
import { toAppError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/logger.ts';
import type {
  ControlPlane,
  ControlServerFacts,
  Lease,
  LeaseView,
  MemberRecord,
  MemberView,
  PlacementRecord,
} from '../control-plane.ts';
import type { PlacementMemory } from '../members/placement-file.ts';
import { acquiringText, type HeldText, readLease, renewingText } from './lease-text.ts';

export interface NatsControlPlaneOptions {
  /** nats:// or tls:// URLs; any one of them is enough to begin with. */
  readonly servers: readonly string[];
  /** Names the buckets: clusters with different names share a NATS. */
  readonly clusterName: string;
  /** Copies of each bucket: 1, 3 or 5. */
  readonly bucketReplicas: number;
  /** Between two heartbeats of this process. */
  readonly heartbeatMs: number;
  /** A member not heard of for so long is gone; a lease not renewed for so long is free. */
  readonly expiryMs: number;
  /** User and password, token, credentials file content or TLS files, as NATS names them. */
  readonly connection: Pick<NodeConnectionOptions, 'user' | 'pass' | 'token' | 'authenticator' | 'tls'>;
}

/** The bucket of a cluster: what the control plane needs of a key-value store with revisions. */
export type ControlBucket = Pick<KV, 'create' | 'update' | 'put' | 'delete' | 'watch'>;

export interface NatsControlPlaneDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Opens the bucket. Default: connects to NATS, and makes it there when it is not there yet. */
  readonly openBucket?: () => Promise<ControlBucket>;
  /** Keeps the placement over restarts. Default: it is known once NATS or another member says it. */
  readonly memory?: PlacementMemory;
}

/** Longest answer of NATS that we wait for. */
const REQUEST_TIMEOUT_MS = 2_000;
const PLACEMENT_KEY = 'placement';
/** Between two lines that NATS is out of reach, when the reasons differ. */
const REPORT_INTERVAL_MS = 5_000;
/**
 * The first change after NATS was emptied skips so many epochs at most, by lot: the record that is known may not be the last one that there
 * was, and whoever knows a later one must not take the change for it.
 */
const SKIPPED_EPOCHS_MAX = 2 ** 20;
/** What a record of an earlier version lacks. */
const EMPTY_LISTS = { former: [], stores: [], storeReplicationFactor: 1 } as const;

interface Heard {
  readonly record: MemberRecord;
  revision: number;
  heardAtMs: number;
}

interface HeardLease extends HeldText {
  readonly revision: number;
  readonly heardAtMs: number;
}

interface HeldLease {
  readonly name: string;
  token: number;
  revision: number;
  renewedAtMs: number;
  lost: boolean;
}

export class NatsControlPlane implements ControlPlane {
  readonly #options: NatsControlPlaneOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #openBucket: () => Promise<ControlBucket>;
  readonly #memory: PlacementMemory | undefined;
  readonly #heard = new Map<string, Heard>();
  readonly #leases = new Map<string, HeardLease>();
  /** Greatest token ever heard of, by lease: the next holder's is greater, also after a release, and after NATS was emptied. */
  readonly #tokens = new Map<string, number>();
  readonly #held = new Map<string, HeldLease>();
  readonly #listeners = new Set<() => void>();
  readonly #stopping = new AbortController();
  #watchLoop: Promise<void> | undefined;
  #beatLoop: Promise<void> | undefined;
  #connecting: Promise<ControlBucket> | undefined;
  #connection: NatsConnection | undefined;
  #bucket: ControlBucket | undefined;
  #serverFacts: ControlServerFacts | undefined;
  #own: MemberRecord | undefined;
  #placement: PlacementRecord | undefined;
  #placementRevision = 0;
  /** Epoch of the record that NATS holds; 0 when it holds none. */
  #storedEpoch = 0;
  /** Whether a member wrote that record again after NATS was emptied, and nobody changed it since. */
  #isStoredAgain = false;
  /** When the watch last brought something, by the monotonic clock; our own heartbeat comes back through it. */
  #echoAtMs = Number.NEGATIVE_INFINITY;
  /** What was last logged of the control plane's reach. */
  #wasReachable: boolean | undefined;
  #lastFailure = '';
  /** The last line about NATS being out of reach. */
  #reported = { reason: '', atMs: Number.NEGATIVE_INFINITY };
  #startedAtMs = 0;

  constructor(options: NatsControlPlaneOptions, deps: NatsControlPlaneDeps) {
    this.#options = options;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#openBucket = deps.openBucket ?? (() => this.#openNatsBucket());
    this.#memory = deps.memory;
    this.#placement = deps.memory?.read();
  }

  async start(): Promise<void> {
    this.#startedAtMs = this.#clock.monotonicMs();
    this.#watchLoop ??= this.#watchForever();
    this.#beatLoop ??= this.#beatForever();
  }

  async stop(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    const isReachable = this.isConnected();
    this.#stopping.abort();
    // No heartbeat may come after the farewell.
    await this.#beatLoop;
    // Not ours any more before another process may see them free.
    const leases = [...this.#held.values()];
    for (const held of leases) this.#lose(held);
    if (isReachable) await this.#leave(leases).catch(() => {});
    await this.#connection?.close().catch(() => {});
    await this.#watchLoop;
  }

  async #leave(leases: readonly HeldLease[]): Promise<void> {
    const bucket = this.#bucket;
    for (const { name, revision } of leases) await bucket?.delete(leaseKey(name), { previousSeq: revision });
    if (this.#own !== undefined) await bucket?.delete(memberKey(this.#own));
  }

  async announce(record: MemberRecord): Promise<void> {
    this.#own = record;
    await this.#beat().catch(() => {});
  }

  members(): readonly MemberView[] {
    const now = this.#clock.monotonicMs();
    const views: MemberView[] = [];
    for (const { record, heardAtMs } of this.#heard.values()) {
      views.push({ ...record, heartbeatAgeMs: Math.max(0, now - heardAtMs) });
    }
    return views.sort((a, b) => (memberKey(a) < memberKey(b) ? -1 : 1));
  }

  placement(): PlacementRecord | undefined {
    return this.#placement;
  }

  isConnected(): boolean {
    return this.#clock.monotonicMs() - this.#echoAtMs < 3 * this.#options.heartbeatMs;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async replacePlacement(next: PlacementRecord): Promise<boolean> {
    const isEmptied = this.#placementRevision === 0 && this.#placement !== undefined;
    if (!isEmptied && !this.#isStoredAgain) return this.#storePlacement(next);
    return this.#storePlacement({ ...next, epoch: next.epoch + randomInt(1, SKIPPED_EPOCHS_MAX) });
  }

  async #storePlacement(next: PlacementRecord, bucket = this.#bucket): Promise<boolean> {
    if (bucket === undefined) return false;
    try {
      const text = JSON.stringify(next);
      const revision =
        this.#placementRevision === 0
          ? await bucket.create(PLACEMENT_KEY, text)
          : await bucket.update(PLACEMENT_KEY, text, this.#placementRevision);
      this.#takePlacement(next, revision);
      return true;
    } catch (caught) {
      this.#logger.debug({ err: toAppError(caught), epoch: next.epoch }, 'placement not replaced');
      return false;
    }
  }

  async tryAcquire(name: string): Promise<Lease | undefined> {
    const bucket = this.#bucket;
    const own = this.#own;
    if (bucket === undefined || own === undefined || !this.isConnected()) return undefined;
    const holder = memberKey(own);
    const known = this.#leases.get(name);
    const sentAtMs = this.#clock.monotonicMs();
    // What a former life of this process left, or was lost while NATS was away, needs no patience: it was ours.
    const isLeftBehind = known?.holder === holder && !this.#held.has(name);
    if (known !== undefined && !isLeftBehind && sentAtMs - known.heardAtMs < this.#options.expiryMs)
      return known.holder === holder ? this.#heldStill(name) : undefined;
    try {
      const text = acquiringText(holder, this.#tokens.get(name));
      const revision =
        known === undefined
          ? await bucket.create(leaseKey(name), text)
          : await bucket.update(leaseKey(name), text, known.revision);
      const { token } = readLease(text, revision);
      const held: HeldLease = { name, token, revision, renewedAtMs: sentAtMs, lost: false };
      this.#held.set(name, held);
      return this.#leaseOf(held);
    } catch {
      return undefined;
    }
  }

  /** After a pause nobody here may have used the lease any more, while it is renewed: without this it would be nobody's for good. */
  #heldStill(name: string): Lease | undefined {
    const held = this.#held.get(name);
    if (held === undefined) return undefined;
    const lease = this.#leaseOf(held);
    return lease.isHeld() ? lease : undefined;
  }

  leaseView(name: string): LeaseView | undefined {
    const heard = this.#leases.get(name);
    if (heard === undefined) return undefined;
    const { holder, token } = heard;
    return { holder, token, isOwn: this.#own !== undefined && holder === memberKey(this.#own) };
  }

  #leaseOf(held: HeldLease): Lease {
    const heldForMs = (): number => {
      if (held.lost) return 0;
      const ageMs = this.#clock.monotonicMs() - held.renewedAtMs;
      return Math.max(0, (this.#options.expiryMs * 2) / 3 - ageMs);
    };
    return {
      name: held.name,
      get token() {
        return held.token;
      },
      heldForMs,
      isHeld: () => heldForMs() > 0,
      raise: (above) => this.#raise(held, above),
      release: async () => {
        held.lost = true;
        this.#held.delete(held.name);
        await this.#bucket?.delete(leaseKey(held.name), { previousSeq: held.revision }).catch(() => {});
      },
    };
  }

  /** One attempt at a time, whoever asks. */
  #connect(): Promise<ControlBucket> {
    this.#connecting ??= this.#connectOnce().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connectOnce(): Promise<ControlBucket> {
    const bucket = await this.#openBucket();
    this.#bucket = bucket;
    return bucket;
  }

  async #openNatsBucket(): Promise<ControlBucket> {
    this.#connection ??= await this.#openConnection();
    const bucket = await new Kvm(jetstream(this.#connection, { timeout: REQUEST_TIMEOUT_MS })).create(
      `tidemark_${this.#options.clusterName}`,
      { history: 1, replicas: this.#options.bucketReplicas, allow_direct: false },
    );
    const { version } = this.#connection.info!;
    // For people: an account that may not ask for it does without.
    await bucket.status().then(
      ({ storage, replicas }) => {
        this.#serverFacts = { version, storage, replicas };
      },
      () => undefined,
    );
    return bucket;
  }

  serverFacts(): ControlServerFacts | undefined {
    return this.#serverFacts;
  }

  async #openConnection(): Promise<NatsConnection> {
    const connection = await connect({
      ...this.#options.connection,
      servers: [...this.#options.servers],
      name: `tidemark ${this.#own?.service ?? ''} ${this.#own?.instance ?? ''}`.trim(),
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      reconnectJitter: 250,
      pingInterval: 5_000,
      maxPingOut: 2,
      timeout: REQUEST_TIMEOUT_MS,
    });
    // A connection that ends for good (refused credentials, for one) is opened anew.
    void connection.closed().then(() => {
      if (this.#connection === connection) this.#connection = undefined;
    });
    return connection;
  }

  /** Watches all keys; begins anew when nothing came for three heartbeats, our own included, or when NATS was emptied. */
  async #watchForever(): Promise<void> {
    const { heartbeatMs } = this.#options;
    while (!this.#stopping.signal.aborted) {
      try {
        const bucket = await this.#connect();
        await this.#watch(bucket);
      } catch (caught) {
        this.#lastFailure = toAppError(caught).message;
        this.#logger.debug({ err: toAppError(caught) }, 'control plane out of reach');
      }
      await this.#clock.sleep(heartbeatMs / 2, this.#stopping.signal).catch(() => {});
    }
  }

  async #watch(bucket: ControlBucket): Promise<void> {
    const { heartbeatMs } = this.#options;
    const watch = await bucket.watch();
    const begunAtMs = this.#clock.monotonicMs();
    // After an outage others need a moment longer than we did to come back.
    for (const heard of this.#heard.values()) heard.heardAtMs = begunAtMs + this.#options.expiryMs;
    this.#forgetStored();
    this.#leases.clear();
    const guard = setInterval(() => {
      const quietMs = this.#clock.monotonicMs() - Math.max(this.#echoAtMs, begunAtMs);
      if (quietMs > 3 * heartbeatMs || this.#stopping.signal.aborted) watch.stop();
    }, heartbeatMs / 2);
    try {
      for await (const entry of watch) {
        this.#echoAtMs = this.#clock.monotonicMs();
        const text = entry.operation === 'PUT' ? entry.string() : undefined;
        try {
          this.#take(entry.key, text, entry.revision);
        } catch (caught) {
          this.#logger.warn({ err: toAppError(caught), key: entry.key }, 'a record that cannot be read');
        }
      }
    } finally {
      clearInterval(guard);
      watch.stop();
    }
  }

  #take(key: string, text: string | undefined, revision: number): void {
    const now = this.#clock.monotonicMs();
    if (key === PLACEMENT_KEY) {
      if (text !== undefined)
        this.#takePlacement({ ...EMPTY_LISTS, ...(JSON.parse(text) as PlacementRecord) }, revision);
      else this.#forgetStored();
    } else if (key.startsWith('lease.')) {
      this.#takeLease(key.slice('lease.'.length), text, revision, now);
    } else if (text === undefined) {
      if (this.#heard.delete(key)) this.#changed();
    } else {
      const record = JSON.parse(text) as MemberRecord;
      const before = this.#heard.get(key)?.record;
      this.#heard.set(key, { record, revision, heardAtMs: now });
      if (before === undefined || JSON.stringify(before) !== text) this.#changed();
    }
  }

  #takeLease(name: string, text: string | undefined, revision: number, now: number): void {
    const heard = text === undefined ? undefined : readLease(text, revision);
    if (heard === undefined) this.#leases.delete(name);
    else {
      this.#leases.set(name, { ...heard, revision, heardAtMs: now });
      this.#tokens.set(name, Math.max(this.#tokens.get(name) ?? 0, heard.token));
    }
    // Our own renewals come back through the watch, some before their answer does.
    const held = this.#held.get(name);
    const ours = this.#own !== undefined && heard?.holder === memberKey(this.#own);
    if (held === undefined || revision <= held.revision) return;
    // A renewal that NATS took and whose answer was lost is one all the same.
    if (ours && heard.token === held.token) held.revision = revision;
    else if (!ours) this.#lose(held);
  }

  /** An emptied NATS may bring an older epoch than ours: the greater one stays, and is written again. */
  #takePlacement({ storedAgain, ...record }: PlacementRecord, revision: number): void {
    this.#placementRevision = Math.max(this.#placementRevision, revision);
    this.#storedEpoch = record.epoch;
    this.#isStoredAgain = storedAgain === true;
    if (this.#placement !== undefined && record.epoch <= this.#placement.epoch) return;
    this.#placement = record;
    this.#remember(record);
    this.#changed();
  }

  #remember(record: PlacementRecord): void {
    try {
      this.#memory?.write(record);
    } catch (caught) {
      // A full disk: the next change, or the next start beside the others, makes up for it.
      this.#logger.warn(
        { err: toAppError(caught), epoch: record.epoch },
        'the placement could not be written down',
      );
    }
  }

  #forgetStored(): void {
    this.#placementRevision = 0;
    this.#storedEpoch = 0;
    this.#isStoredAgain = false;
  }

  async #beatForever(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#beat();
      } catch (caught) {
        this.#logger.debug({ err: toAppError(caught) }, 'heartbeat not sent');
        await this.#connect().catch(() => {});
      }
      this.#expire();
      this.#reportReach();
      await this.#clock.sleep(this.#options.heartbeatMs, this.#stopping.signal).catch(() => {});
    }
  }

  async #beat(): Promise<void> {
    const bucket = this.#bucket;
    if (bucket === undefined) return;
    if (this.#own !== undefined) await bucket.put(memberKey(this.#own), JSON.stringify(this.#own));
    await Promise.all(Array.from(this.#held.values(), (held) => this.#renew(bucket, held)));
    await this.#restorePlacement(bucket);
  }

  /** A NATS that came back empty, or with an older record, gets the one that we know; the first of all members wins. */
  async #restorePlacement(bucket: ControlBucket): Promise<void> {
    const placement = this.#placement;
    if (placement === undefined || this.#storedEpoch >= placement.epoch || !this.isConnected()) return;
    await this.#storePlacement({ ...placement, storedAgain: true }, bucket);
  }

  async #renew(bucket: ControlBucket, held: HeldLease): Promise<void> {
    const sentAtMs = this.#clock.monotonicMs();
    const holder = this.#own === undefined ? '' : memberKey(this.#own);
    try {
      held.revision = await bucket.update(
        leaseKey(held.name),
        renewingText(holder, held.token),
        held.revision,
      );
      held.renewedAtMs = sentAtMs;
    } catch (caught) {
      this.#logger.debug({ err: toAppError(caught), lease: held.name }, 'lease not renewed');
      if (sentAtMs - held.renewedAtMs > this.#options.expiryMs) this.#lose(held);
    }
  }

  /** By compare-and-set, so that of two who believe to hold it one can. The step is by lot: somebody else may raise what we do not know of. */
  async #raise(held: HeldLease, above: number): Promise<boolean> {
    const bucket = this.#bucket;
    if (bucket === undefined || held.lost || this.#own === undefined) return false;
    const token = Math.max(held.token, above) + randomInt(1, SKIPPED_EPOCHS_MAX);
    const sentAtMs = this.#clock.monotonicMs();
    try {
      const text = renewingText(memberKey(this.#own), token);
      held.revision = await bucket.update(leaseKey(held.name), text, held.revision);
      held.renewedAtMs = sentAtMs;
      held.token = token;
      return true;
    } catch (caught) {
      this.#logger.debug({ err: toAppError(caught), lease: held.name, above }, 'lease token not raised');
      return false;
    }
  }

  #lose(held: HeldLease): void {
    held.lost = true;
    if (this.#held.get(held.name) === held) this.#held.delete(held.name);
  }

  /** Members fall silent only while we hear others: when we hear nobody, it is we who are cut off. */
  #expire(): void {
    if (!this.isConnected()) return;
    const now = this.#clock.monotonicMs();
    for (const [key, { heardAtMs, record, revision }] of this.#heard) {
      if (now - heardAtMs <= this.#options.expiryMs) continue;
      this.#heard.delete(key);
      this.#logger.info({ service: record.service, instance: record.instance }, 'member expired');
      this.#changed();
      // So that names that never come back do not gather in the bucket. A heartbeat meanwhile keeps the key.
      this.#bucket?.delete(key, { previousSeq: revision }).catch(() => {});
    }
  }

  /** One line when NATS is lost, one whenever the reason has become another, and one when it is there again. */
  #reportReach(): void {
    const isReachable = this.isConnected();
    const isNews = isReachable !== this.#wasReachable || (!isReachable && this.#isOtherReason());
    if (!isNews) return;
    const { servers, heartbeatMs } = this.#options;
    const isStarting = this.#clock.monotonicMs() - this.#startedAtMs < 3 * heartbeatMs;
    if (!isReachable && isStarting) return;
    if (isReachable) this.#logger.info({ servers }, 'control plane reached');
    else {
      this.#logger.warn(
        { servers, reason: this.#lastFailure },
        'control plane out of reach: the last known members and placement stand; trying again',
      );
      this.#reported = { reason: this.#lastFailure, atMs: this.#clock.monotonicMs() };
    }
    this.#wasReachable = isReachable;
    this.#changed();
  }

  #isOtherReason(): boolean {
    const { reason, atMs } = this.#reported;
    return this.#lastFailure !== reason && this.#clock.monotonicMs() - atMs > REPORT_INTERVAL_MS;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function memberKey(record: Pick<MemberRecord, 'service' | 'instance'>): string {
  return `member.${record.service}.${record.instance}`;
}

function leaseKey(name: string): string {
  return `lease.${name}`;
}
