// Keeps the placement record in step with the ingesters that are there. Runs on every ingester; the holder of the lease
// `placement` acts, and each change is a compare-and-set, so that two who believe to hold it do no harm.
import type { Clock } from '../core/clock.ts';
import { compareUtf8 } from '../model/labels.ts';
import type { Member } from '../placement/placement.ts';
import type { Logger } from '../runtime/logger.ts';
import type { ControlPlane, Lease, MemberView, PlacementRecord } from './control-plane.ts';

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
}

/** Decides when the owners of partitions change. */
export class PlacementKeeper {
  readonly #options: PlacementKeeperOptions;
  readonly #control: ControlPlane;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #absentSinceMs = new Map<string, number>();
  readonly #stopping = new AbortController();
  #lease: Lease | undefined;
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
      await this.#step();
      await this.#clock.sleep(this.#options.intervalMs, this.#stopping.signal).catch(() => {});
    }
  }

  async #step(): Promise<void> {
    if (!this.#control.isConnected()) return;
    if (this.#lease?.isHeld() !== true) this.#lease = await this.#control.tryAcquire('placement');
    if (this.#lease === undefined) return;
    const next = this.#next();
    if (next === undefined) return;
    if (await this.#control.replacePlacement(next)) {
      const ingesters = next.ingesters.map((member) => member.instance);
      this.#logger.info({ epoch: next.epoch, ingesters }, 'placement changed');
    }
  }

  /** The record that should stand, or undefined when the one that stands will do. */
  #next(): PlacementRecord | undefined {
    const current = this.#control.placement();
    const ingesters = this.#wantedIngesters(current);
    if (ingesters.length === 0) return undefined;
    if (current !== undefined && sameMembers(current.ingesters, ingesters)) return undefined;
    return {
      epoch: (current?.epoch ?? 0) + 1,
      partitionCount: current?.partitionCount ?? this.#options.partitionCount,
      replicationFactor: this.#options.replicationFactor,
      ingesters,
    };
  }

  #wantedIngesters(current: PlacementRecord | undefined): Member[] {
    const live = new Map<string, MemberView>();
    for (const member of this.#control.members()) {
      if (member.service === 'ingester') live.set(member.instance, member);
    }
    const wanted = new Map<string, Member>();
    for (const member of live.values()) {
      if (member.state === 'ready')
        wanted.set(member.instance, { instance: member.instance, zone: member.zone });
    }
    for (const member of current?.ingesters ?? []) {
      if (this.#keeps(member, live.get(member.instance))) wanted.set(member.instance, member);
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

function sameMembers(a: readonly Member[], b: readonly Member[]): boolean {
  return (
    a.length === b.length &&
    a.every((member, i) => member.instance === b[i]!.instance && member.zone === b[i]!.zone)
  );
}
