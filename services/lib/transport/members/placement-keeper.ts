// Keeps the placement record in step with the ingesters that are there. Runs on every ingester; the holder of the lease
// `placement` acts, and each change is a compare-and-set, so that two who believe to hold it do no harm.
import type { Clock } from '../../core/clock.ts';
import { toAppError } from '../../core/errors.ts';
import { compareUtf8 } from '../../model/labels.ts';
import { assignPartitions, type OwnerMember } from '../../placement/assignment.ts';
import { type Member, quorumOf } from '../../placement/placement.ts';
import { type StoreMember, withSlots } from '../../placement/store-slots.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { ControlPlane, FormerIngesters, Lease, MemberView, PlacementRecord } from '../control-plane.ts';
import { ownersOf, ownerTableOf } from './owner-table.ts';

export interface PlacementKeeperOptions {
  readonly partitionCount: number;
  readonly replicationFactor: number;
  /** Between two looks at the members. */
  readonly intervalMs: number;
  /**
   * An ingester that vanished without leaving keeps its partitions for so long: a restart must not move data. Writes go on
   * meanwhile with the quorum of the others.
   */
  readonly absenceMs: number;
  /** How long owners that were replaced may still have samples that are on no store, milliseconds. */
  readonly formerMs: number;
  /** Copies of a sealed block. */
  readonly storeReplicationFactor: number;
  /** A first placement of fewer ingesters than it has replicas waits so long, milliseconds: see FOUNDING_DELAY_MS. */
  readonly foundingDelayMs: number;
}

/**
 * An ingester that is new finds an emptied NATS before those that know the placement have found it again: a placement of its own would say that
 * nobody else has anything. They try again every few seconds.
 */
export const FOUNDING_DELAY_MS = 5_000;

/** Bounds the record: more changes than this within `formerMs` are nobody's intention. */
const FORMER_MAX = 16;

/** NATS takes values of 1 MiB unless it is told otherwise. Only clusters of hundreds of ingesters come near it, by their former owners. */
const RECORD_BYTES_MAX = 1_000_000;
const RETRY_REFUSED_MS = 30_000;

/** Decides when the owners of partitions change. */
export class PlacementKeeper {
  readonly #options: PlacementKeeperOptions;
  readonly #control: ControlPlane;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Ingesters that were absent at each look since, monotonic ms. */
  readonly #absentSinceMs = new Map<string, number>();
  readonly #stopping = new AbortController();
  #lease: Lease | undefined;
  /** Since when there could be a first placement, monotonic ms. */
  #foundingSinceMs: number | undefined;
  /** When a record was last refused for its size, monotonic ms: to work one out costs too much to try it at every look. */
  #refusedAtMs = Number.NEGATIVE_INFINITY;
  #loop: Promise<void> | undefined;

  constructor(
    options: PlacementKeeperOptions,
    deps: { readonly control: ControlPlane; readonly clock: Clock; readonly logger: Logger },
  ) {
    this.#options = options;
    this.#control = deps.control;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
    await this.#lease?.release();
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      // Whatever happens, the next look must come: without it no owner would ever change again.
      await this.#step().catch((caught: unknown) =>
        this.#logger.error({ err: toAppError(caught) }, 'the placement could not be looked at'),
      );
      await this.#clock.sleep(this.#options.intervalMs, this.#stopping.signal).catch(() => {});
    }
  }

  async #step(): Promise<void> {
    if (!(await this.#isInCharge())) {
      // Who was absent may come back unseen.
      this.#absentSinceMs.clear();
      this.#foundingSinceMs = undefined;
      return;
    }
    if (this.#clock.monotonicMs() - this.#refusedAtMs < RETRY_REFUSED_MS) return;
    const next = this.#next();
    if (next === undefined) return;
    if (await this.#control.replacePlacement(next)) {
      const ingesters = next.ingesters.map((member) => member.instance);
      this.#logger.info({ epoch: next.epoch, ingesters }, 'placement changed');
    }
  }

  async #isInCharge(): Promise<boolean> {
    if (!this.#control.isConnected()) return false;
    if (this.#lease?.isHeld() !== true) this.#lease = await this.#control.tryAcquire('placement');
    return this.#lease !== undefined;
  }

  /** The record that should stand, or undefined when the one that stands will do. */
  #next(): PlacementRecord | undefined {
    const current = this.#control.placement();
    const { partitionCount, replicationFactor, storeReplicationFactor } = this.#options;
    const ingesters = this.#wantedIngesters(current);
    if (ingesters.length === 0) return undefined;
    if (current === undefined && (this.#isKnownToOthers() || this.#isTooEarly(ingesters))) return undefined;
    const former = this.#formerIngesters(current, ingesters);
    const fence = fenceAfter(current, former);
    const stores = this.#knownStores(current);
    const next: PlacementRecord = {
      epoch: (current?.epoch ?? 0) + 1,
      partitionCount: current?.partitionCount ?? partitionCount,
      replicationFactor,
      ingesters,
      ...this.#ownersAfter(current, ingesters),
      former,
      ...(fence === 0 ? {} : { fence }),
      storeReplicationFactor,
      stores,
    };
    if (current !== undefined && isSameRecord(current, next)) return undefined;
    return this.#fits(next) ? next : undefined;
  }

  /** NATS was emptied before this process, which is new, had read it: somebody who knows the placement writes it again. */
  #isKnownToOthers(): boolean {
    return this.#control.members().some(({ replica }) => (replica?.settledEpoch ?? 0) > 0);
  }

  #isTooEarly({ length }: readonly OwnerMember[]): boolean {
    const { foundingDelayMs, replicationFactor } = this.#options;
    const nowMs = this.#clock.monotonicMs();
    this.#foundingSinceMs ??= nowMs;
    return length < replicationFactor && nowMs - this.#foundingSinceMs < foundingDelayMs;
  }

  /** A record that is too large waits until former owners are not needed any more. */
  #fits(next: PlacementRecord): boolean {
    const bytes = JSON.stringify(next).length;
    if (bytes <= RECORD_BYTES_MAX) return true;
    this.#refusedAtMs = this.#clock.monotonicMs();
    this.#logger.warn(
      { epoch: next.epoch, bytes, bytesMax: RECORD_BYTES_MAX, former: next.former.length },
      'the placement cannot change before earlier changes are through: its record would be too large; trying again',
    );
    return false;
  }

  /** As few partitions as possible move. A cluster whose owners follow from names goes on so: all would move at once. */
  #ownersAfter(
    current: PlacementRecord | undefined,
    ingesters: readonly OwnerMember[],
  ): Pick<PlacementRecord, 'owners'> {
    if (current !== undefined && current.owners === undefined) return {};
    const isSame = current !== undefined && this.#hasSameOwners(current, ingesters);
    if (isSame && current.owners !== undefined) return { owners: current.owners };
    const { partitionCount = this.#options.partitionCount } = current ?? {};
    const { replicationFactor } = this.#options;
    const before = current === undefined ? [] : ownersOf(current, current);
    const owners = assignPartitions(ingesters, before, { partitionCount, replicationFactor });
    return { owners: ownerTableOf(owners, ingesters) };
  }

  #hasSameOwners(current: PlacementRecord, ingesters: readonly OwnerMember[]): boolean {
    return (
      sameMembers(current.ingesters, ingesters) &&
      current.replicationFactor === this.#options.replicationFactor
    );
  }

  /** Whether each owner has everything, from whichever owners there were before: nobody needs those any more. */
  #isHandedOver(current: PlacementRecord): boolean {
    const replicas = new Map(
      this.#control
        .members()
        .filter(({ service }) => service === 'ingester')
        .map(({ instance, replica }) => [instance, replica]),
    );
    return current.ingesters.every(({ instance }) => {
      const replica = replicas.get(instance);
      return replica !== undefined && !replica.recovering && replica.settledEpoch >= current.epoch;
    });
  }

  /** Owners that were replaced lately and are still needed, at most FORMER_MAX. */
  #formerIngesters(current: PlacementRecord | undefined, ingesters: readonly Member[]): FormerIngesters[] {
    if (current === undefined) return [];
    const nowMs = this.#clock.nowMs();
    const isHandedOver = this.#isHandedOver(current);
    const kept = current.former.filter(
      ({ untilMs }) => !isHandedOver && nowMs - untilMs < this.#options.formerMs,
    );
    if (!this.#hasSameOwners(current, ingesters)) {
      const { owners } = current;
      kept.unshift({
        ingesters: current.ingesters,
        ...(owners === undefined ? {} : { owners }),
        epoch: current.epoch,
        untilMs: nowMs,
      });
    }
    return kept.slice(0, FORMER_MAX);
  }

  /** All stores that were ever ready: only they know which blocks they hold. */
  #knownStores(current: PlacementRecord | undefined): readonly StoreMember[] {
    const known = new Map((current?.stores ?? []).map((member) => [member.instance, member]));
    for (const { service, state, instance, zone, weight } of this.#control.members()) {
      if (service !== 'store' || state !== 'ready') continue;
      // Whether it leaves is an operator's word, which stands until the store is forgotten.
      const { leaving, slots } = known.get(instance) ?? {};
      known.set(instance, {
        ...{ instance, zone },
        ...(weight === undefined ? {} : { weight }),
        ...(leaving === undefined ? {} : { leaving }),
        ...(slots === undefined ? {} : { slots }),
      });
    }
    return this.#placed(
      current,
      [...known.values()].sort((a, b) => compareUtf8(a.instance, b.instance)),
    );
  }

  /** With their slots, as few of which as possible change; none does while the stores are the same. */
  #placed(current: PlacementRecord | undefined, stores: readonly StoreMember[]): readonly StoreMember[] {
    const { storeReplicationFactor } = this.#options;
    const isSame =
      current?.storeReplicationFactor === storeReplicationFactor && sameMembers(current.stores, stores);
    if (isSame && stores.every(({ slots }) => slots !== undefined)) return stores;
    return withSlots(stores, storeReplicationFactor);
  }

  #wantedIngesters(current: PlacementRecord | undefined): OwnerMember[] {
    const live = new Map<string, MemberView>();
    for (const member of this.#control.members()) {
      if (member.service === 'ingester') live.set(member.instance, member);
    }
    const wanted = new Map<string, OwnerMember>();
    for (const member of live.values()) {
      if (member.state === 'ready') wanted.set(member.instance, ownerOf(member));
    }
    for (const member of current?.ingesters ?? []) {
      const isKept = this.#keeps(member, live.get(member.instance));
      if (isKept && !wanted.has(member.instance)) wanted.set(member.instance, member);
    }
    for (const { instance, replica } of live.values()) {
      // Whoever leaves stays while too few would be left to acknowledge anything.
      if (replica?.leaving === true && wanted.size > quorumOf(this.#options.replicationFactor))
        wanted.delete(instance);
    }
    return [...wanted.values()].sort((a, b) => compareUtf8(a.instance, b.instance));
  }

  /** An owner that is restarting or briefly absent keeps its partitions. */
  #keeps(member: Member, live: MemberView | undefined): boolean {
    if (live !== undefined) {
      this.#absentSinceMs.delete(member.instance);
      return true;
    }
    const now = this.#clock.monotonicMs();
    const since = this.#absentSinceMs.get(member.instance) ?? now;
    this.#absentSinceMs.set(member.instance, since);
    return now - since < this.#options.absenceMs;
  }
}

/** Writes by placements whose owners handed over are refused from then on. */
function fenceAfter(current: PlacementRecord | undefined, former: readonly FormerIngesters[]): number {
  const gone = (current?.former ?? []).filter((each) => !former.includes(each));
  return Math.max(current?.fence ?? 0, ...gone.map(({ epoch = -1 }) => epoch + 1));
}

function ownerOf({ instance, zone, weight }: MemberView): OwnerMember {
  return { instance, zone, ...(weight === undefined || weight === 1 ? {} : { weight }) };
}

function isSameRecord(a: PlacementRecord, b: PlacementRecord): boolean {
  return (
    a.replicationFactor === b.replicationFactor &&
    a.storeReplicationFactor === b.storeReplicationFactor &&
    sameMembers(a.ingesters, b.ingesters) &&
    sameStores(a.stores, b.stores) &&
    a.former.length === b.former.length
  );
}

function sameMembers(a: readonly OwnerMember[], b: readonly OwnerMember[]): boolean {
  return (
    a.length === b.length &&
    a.every(
      ({ instance, zone, weight = 1 }, i) =>
        instance === b[i]!.instance && zone === b[i]!.zone && weight === (b[i]!.weight ?? 1),
    )
  );
}

function sameStores(a: readonly StoreMember[], b: readonly StoreMember[]): boolean {
  return (
    sameMembers(a, b) &&
    a.every(
      ({ leaving, weight, slots }, i) =>
        leaving === b[i]!.leaving &&
        weight === b[i]!.weight &&
        // Lists of earlier versions have none.
        (slots === undefined) === (b[i]!.slots === undefined),
    )
  );
}
