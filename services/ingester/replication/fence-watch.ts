// Whether this ingester would have heard of it, had another process taken a lease that samples are written under. A later holder tells a
// quorum of the owners of every partition and waits (TAKEOVER_MS of the evaluator's leases) before it does anything; this one asks so many
// owners that every quorum has one among them. So an ingester that only an earlier holder still reaches stops taking its samples before a
// later one begins, and has nothing of it that others could get from here.
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { chooseWitnesses, countsOn, coversQuorums, ownerSetsOf } from '../../lib/placement/owner-sets.ts';
import type { FencesResponse } from '../../lib/wire/contracts.ts';
import type { Fences } from '../writes/fences.ts';
import type { ReplicaPeer, ReplicaView } from './replication-options.ts';

/**
 * For so long after the question a quorum's answer is good. Part of the contract with evaluators: one that takes a lease over waits longer
 * (`TAKEOVER_MS`), so that no clock has to be right, only to run at about the right speed.
 */
export const FENCE_VALID_MS = 4_000;
/** Between two questions while samples come under leases; a few may be lost. */
const ASK_MS = 1_000;
/** Without samples under a lease for so long nobody is asked. */
const IDLE_MS = 600_000;
const ANSWER_TIMEOUT_MS = 500;
/** Between two questions when somebody waits for the answer. */
const PAUSE_MIN_MS = 50;
/** What an ingester of an earlier version answers. */
const UNKNOWN_CALL = /not implement|unimplemented/i;

export interface FenceWatchDeps {
  readonly clock: Clock;
  readonly fences: Pick<Fences, 'learn' | 'isForgetful' | 'recall'>;
  /** Undefined while no placement is known, or a newer one than that. */
  readonly view: () => ReplicaView | undefined;
  readonly peers: () => readonly ReplicaPeer[];
  /** It lost what was on its disk: what it knows proves nothing. */
  readonly isRecovering: () => boolean;
  /** Somebody knows this placement. */
  readonly onEpoch: (epoch: number) => void;
}

export class FenceWatch {
  readonly #deps: FenceWatchDeps;
  readonly #stopping = new AbortController();
  /** When a quorum was asked that answered, monotonic ms. */
  #heardAtMs = Number.NEGATIVE_INFINITY;
  #usedAtMs = Number.NEGATIVE_INFINITY;
  #wake: (() => void) | undefined;
  #loop: Promise<void> | undefined;
  /** Of those who wait for the next answer. */
  #waiting: (() => void)[] = [];
  /** Who did not answer when it was last asked. */
  readonly #silent = new Set<string>();

  constructor(deps: FenceWatchDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake?.();
    await this.#loop;
  }

  /** A quorum was asked lately: what is not known here nobody has done. To be asked before each write under a lease. */
  isCurrent(): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    const wasIdle = nowMs - this.#usedAtMs >= IDLE_MS;
    this.#usedAtMs = nowMs;
    const isCurrent = nowMs - this.#heardAtMs < FENCE_VALID_MS;
    if (!isCurrent || wasIdle) this.#wake?.();
    return isCurrent;
  }

  /** Resolves once others were asked, whatever came of it; at once while the last answer is good. */
  async hear(): Promise<void> {
    if (this.isCurrent() || this.#loop === undefined || this.#stopping.signal.aborted) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (clock.monotonicMs() - this.#usedAtMs < IDLE_MS || this.#deps.fences.isForgetful) {
        const waiting = this.#waiting.splice(0);
        await this.#ask().catch(() => undefined);
        for (const resolve of waiting) resolve();
      }
      await clock.sleep(PAUSE_MIN_MS, signal).catch(() => undefined);
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      if (!signal.aborted && this.#waiting.length === 0)
        await clock.sleep(ASK_MS - PAUSE_MIN_MS, woken.signal).catch(() => undefined);
    }
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async #ask(): Promise<void> {
    const { clock, view: readView, peers, isRecovering, fences } = this.#deps;
    const view = readView();
    if (view === undefined) return;
    if (fences.isForgetful) await this.#recall(view);
    const askedAtMs = clock.monotonicMs();
    const self = { instance: view.instance, counted: !isRecovering() && !fences.isForgetful };
    const witnesses = new Set(self.counted ? [self.instance] : []);
    const others = peers().filter(({ instance }) => instance !== view.instance);
    const known = [...others].sort((a, b) => this.#isSilent(a) - this.#isSilent(b));
    for (const round of [known, others]) {
      // Those that did not answer the first time give way to whoever else there is.
      const reachable = round.filter((peer) => round === known || this.#isSilent(peer) === 0);
      const names = reachable.map(({ instance }) => instance);
      const chosen = chooseWitnesses(view.placement, view.owned, view.quorum, names, self);
      const asked = reachable.filter(({ instance }) => chosen.has(instance) && !witnesses.has(instance));
      for (const instance of (await this.#askThese(asked)).witnesses) witnesses.add(instance);
      if (isHeard(view, witnesses)) break;
    }
    // Owners that were unknown when it was asked may have a newer placement by now.
    if (isHeard(view, witnesses) && readView()?.placement.epoch === view.placement.epoch)
      this.#heardAtMs = askedAtMs;
  }

  /**
   * Learns what was lost here: from so many others that every quorum has one among them which lost nothing, or from all there are, when no more
   * can be known. Of partitions that it was counted on for before as well.
   */
  async #recall(view: ReplicaView): Promise<void> {
    const { placement, instance } = view;
    const owned = placement.replicas.flatMap((_, partition) =>
      countsOn(placement, partition, instance) ? [partition] : [],
    );
    const others = this.#deps.peers().filter((peer) => peer.instance !== instance);
    const { witnesses, answered } = await this.#askThese(others);
    const all = new Set([...answered, instance]);
    const isWhole = (partition: number): boolean =>
      ownerSetsOf(placement, partition).every((owners) => owners.every((owner) => all.has(owner)));
    const isKnown = isHeard({ ...view, owned }, new Set(witnesses)) || owned.every(isWhole);
    if (isKnown && this.#deps.view()?.placement.epoch === placement.epoch) this.#deps.fences.recall();
  }

  #isSilent({ instance }: ReplicaPeer): 0 | 1 {
    return this.#silent.has(instance) ? 1 : 0;
  }

  /** Names of those that answered, and of those among them that lost nothing. */
  async #askThese(peers: readonly ReplicaPeer[]): Promise<{ answered: string[]; witnesses: string[] }> {
    const answered: string[] = [];
    const over = new AbortController();
    const limit = this.#deps.clock.sleep(ANSWER_TIMEOUT_MS, over.signal).then(
      () => over.abort(),
      () => undefined,
    );
    const answers = await Promise.all(
      peers.map(async ({ instance, client }) => {
        try {
          const answer = await client.fences({}, { signal: over.signal });
          this.#silent.delete(instance);
          answered.push(instance);
          return this.#take(answer) ? [instance] : [];
        } catch (caught) {
          // It remembers no holders, so it is nobody's witness either way.
          if (UNKNOWN_CALL.test(toAppError(caught).message)) {
            answered.push(instance);
            return [instance];
          }
          this.#silent.add(instance);
          return [];
        }
      }),
    );
    over.abort();
    await limit;
    return { answered, witnesses: answers.flat() };
  }

  #take({ tokens, epoch, recovering }: FencesResponse): boolean {
    this.#deps.onEpoch(epoch);
    for (const { name, token } of tokens) this.#deps.fences.learn(name, token);
    return !recovering;
  }
}

/** Whether every quorum of every partition that is owned here has a member among these. */
function isHeard({ placement, owned, quorum }: ReplicaView, witnesses: ReadonlySet<string>): boolean {
  return owned.every((partition) =>
    coversQuorums(ownerSetsOf(placement, partition), quorum, (instance) => witnesses.has(instance)),
  );
}
