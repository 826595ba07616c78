// Finds out, for selects that ask, whether this replica holds every write that was acknowledged when they came: it asks so many owners
// that each quorum has one among them (lib/wire/docs/held-writes.md). Selects that come while others are being asked wait for the next
// round, which serves all of them.
import type { Clock } from '../../lib/core/clock.ts';
import { chooseWitnesses } from '../../lib/placement/owner-sets.ts';
import type { HeldTable } from '../writes/held-table.ts';
import { askPeers, completePartitions, type PeerAnswer } from './peer-answers.ts';
import type { ReplicaPeer, ReplicaView } from './replication-options.ts';

export interface CompletenessProverDeps {
  readonly clock: Clock;
  readonly table: HeldTable;
  /** Undefined while no placement is known. */
  readonly view: () => ReplicaView | undefined;
  readonly peers: () => readonly ReplicaPeer[];
  /** Something is missing that does not come by itself. */
  readonly onLacking: () => void;
  readonly onRound: (elapsedMs: number, isComplete: boolean) => void;
}

/** An owner that takes longer than this does not make the proof. */
const ASK_TIMEOUT_MS = 500;
/** Writes that are on their way to all replicas arrive within this. */
const ARRIVAL_MS = 200;
const ARRIVAL_POLL_MS = 5;

const NONE: ReadonlySet<number> = new Set();

export class CompletenessProver {
  readonly #deps: CompletenessProverDeps;
  #waiting: ((complete: ReadonlySet<number>) => void)[] = [];
  #running = false;
  /** Who did not answer when it was last asked. */
  readonly #silent = new Set<string>();

  constructor(deps: CompletenessProverDeps) {
    this.#deps = deps;
  }

  /** Partitions of which every write is here that was acknowledged before this call. Never rejects. */
  prove(): Promise<ReadonlySet<number>> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      const served = this.#waiting;
      this.#waiting = [];
      const startedMs = this.#deps.clock.monotonicMs();
      const complete = await this.#round().catch(() => NONE);
      this.#deps.onRound(this.#deps.clock.monotonicMs() - startedMs, complete.size > 0);
      for (const resolve of served) resolve(complete);
    }
    this.#running = false;
  }

  async #round(): Promise<ReadonlySet<number>> {
    const { table, view: readView, clock, onLacking } = this.#deps;
    const view = readView();
    if (view === undefined || view.owned.length === 0) return NONE;
    const answers = await this.#ask(view);
    const untilMs = clock.monotonicMs() + ARRIVAL_MS;
    for (;;) {
      const complete = completePartitions(view, answers, table, !table.isRecovering);
      if (complete.size === view.owned.length) return complete;
      const isLacking = answers.some(({ held }) => !held.without(table.held).isEmpty);
      if (!isLacking) return complete;
      if (clock.monotonicMs() >= untilMs) {
        onLacking();
        // Whoever was asked in the place of one that was slow once may have more than any quorum.
        this.#silent.clear();
        return complete;
      }
      await clock.sleep(ARRIVAL_POLL_MS);
    }
  }

  async #ask(view: ReplicaView): Promise<PeerAnswer[]> {
    const others = this.#deps.peers().filter(({ instance }) => instance !== view.instance);
    const isSilent = ({ instance }: ReplicaPeer): boolean => this.#silent.has(instance);
    const preferred = others.toSorted((a, b) => Number(isSilent(a)) - Number(isSilent(b)));
    const first = this.#choose(view, preferred);
    const answers = await this.#askThese(view, first);
    if (answers.length === first.length) return answers;
    // Who died a moment ago is a member still: whoever else there is may do in its place.
    const again = this.#choose(
      view,
      others.filter((peer) => !isSilent(peer)),
    ).filter((peer) => !first.includes(peer));
    return [...answers, ...(await this.#askThese(view, again))];
  }

  /** Few that are enough, the earlier ones if there is a choice. */
  #choose(view: ReplicaView, peers: readonly ReplicaPeer[]): ReplicaPeer[] {
    const self = { instance: view.instance, counted: !this.#deps.table.isRecovering };
    const reachable = peers.map(({ instance }) => instance);
    const chosen = chooseWitnesses(view.placement, view.owned, view.quorum, reachable, self);
    return peers.filter(({ instance }) => chosen.has(instance));
  }

  async #askThese(view: ReplicaView, peers: readonly ReplicaPeer[]): Promise<PeerAnswer[]> {
    if (peers.length === 0) return [];
    const over = new AbortController();
    const limit = this.#deps.clock.sleep(ASK_TIMEOUT_MS, over.signal).then(
      () => over.abort(),
      () => undefined,
    );
    for (const { instance } of peers) this.#silent.delete(instance);
    const answers = await askPeers(peers, view, over.signal, ({ instance }) => this.#silent.add(instance));
    over.abort();
    await limit;
    return answers;
  }
}
