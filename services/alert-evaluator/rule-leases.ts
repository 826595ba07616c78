// Which rule groups this process evaluates: groups fall by hash into a fixed number of leases, and the lease's fencing token goes with every
// sample that a group writes. A holder is one once a quorum of ingesters knows its token (fence-quorum.ts). With NATS away the holders of then
// go on: that nobody took their place is asked at the ingesters, right before anybody is notified.
import { Counter, Gauge, type Registry } from 'prom-client';
import { encodeUtf8 } from '../lib/core/bytes.ts';
import type { Clock } from '../lib/core/clock.ts';
import { toAppError } from '../lib/core/errors.ts';
import { hash128 } from '../lib/core/hash128.ts';
import type { WriteFence } from '../lib/distributor/appender.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { ControlPlane, Lease } from '../lib/transport/control-plane.ts';
import type { WorkShares } from '../lib/transport/members/work-shares.ts';
import type { FenceOutcome } from './fence-quorum.ts';

/**
 * Leases of a cluster, at most: only those that groups fall into are taken. Each costs an entry of NATS per heartbeat, which every process
 * hears; 64 share groups out well enough among a dozen evaluators. Part of the contract between evaluators: never change it.
 */
const LEASES = 64;
const LEASE_SEED = 0x2b1e5;
/** Between two looks at what is to be taken or given up. */
const STEP_MS = 500;
/** How long the answer of a quorum allows to notify, from when it was asked for. */
const CONFIRMED_FOR_MS = 2_000;
/** A holder notifies nobody before what an earlier one was allowed is over. */
const SILENT_MS = CONFIRMED_FOR_MS + 1_000;
/**
 * Groups of an earlier holder begin so long after a quorum knows the new token: by then ingesters that the quorum cannot reach have stopped
 * taking the earlier one's samples (`FENCE_VALID_MS` of ingester/replication/fence-watch.ts, which must be less). Part of the contract.
 */
const TAKEOVER_MS = 5_000;
/** As long after a write that may have reached some of its ingesters it is not said that nothing is on its way. */
const DOUBT_MS = TAKEOVER_MS;
/** A lease that is held for less is confirmed by a quorum instead. */
const HELD_FOR_MIN_MS = 1_000;

/** Under which a group writes and notifies; follows its lease. */
export interface GroupFence extends WriteFence {
  /**
   * Makes sure, as far as possible, that what follows is allowed; never throws. To be followed at once by a look at `validForMs`.
   */
  confirm(): Promise<void>;
  /** For how long no other holder can do anything yet, milliseconds from now; 0: nothing may be done. By the monotonic clock: a pause counts. */
  validForMs(): number;
  /** Somebody refused the token: another process has the lease. */
  refused(): void;
  /** A write failed, and some ingesters may have it or take it yet. */
  doubted(): void;
}

export interface RuleLeasesDeps {
  readonly control: Pick<ControlPlane, 'tryAcquire' | 'leaseView' | 'isConnected' | 'members'>;
  readonly shares: Pick<WorkShares, 'owns' | 'othersOwn' | 'onChange'>;
  readonly announce: (name: string, token: number) => Promise<FenceOutcome>;
  /** Tells ingesters that a holder has ended, and in how many milliseconds nothing of it is on its way; never throws. */
  readonly tellEnd: (name: string, token: number, quietAfterMs: number) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** `owns` answers otherwise. @param isLoss  Resolves when groups that are not ours any more have ended, and what they had to say is sent. */
  readonly onChange: (isLoss: boolean) => Promise<void>;
}

/** A lease that this process has taken. */
interface Holding {
  lease: Lease;
  readonly fence: GroupFence;
  /** A quorum knows the token: groups may run. */
  isKnown: boolean;
  /** Groups are being given up. */
  isLeaving: boolean;
  /** Another process has it. */
  isOver: boolean;
  isRefused: boolean;
  /** When groups may begin, monotonic ms; undefined before a quorum knows the token. */
  startsAtMs: number | undefined;
  /** Greatest token under which groups ran here: nobody else had it in between if ingesters know no later one. */
  ranUnder: number;
  /** Until when a write of it may be on its way somewhere, monotonic ms. */
  doubtedUntilMs: number;
  /** Monotonic milliseconds: no notification before. */
  silentUntilMs: number;
  /** When a quorum was last asked and confirmed. */
  confirmedAtMs: number;
}

/** Name of the lease that a group falls into. */
export function ruleLeaseOf(groupKey: string): string {
  const bytes = encodeUtf8(groupKey);
  const words = new Uint32Array(4);
  hash128(bytes, 0, bytes.length, LEASE_SEED, words);
  return `rules.${words[0]! % LEASES}`;
}

export class RuleLeases {
  readonly #deps: RuleLeasesDeps;
  readonly #stopping = new AbortController();
  readonly #holdings = new Map<string, Holding>();
  readonly #refusals: Counter;
  #used: ReadonlySet<string> = new Set();
  #loop: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #wasShared = false;

  constructor(deps: RuleLeasesDeps) {
    this.#deps = deps;
    deps.shares.onChange(() => this.#wake?.());
    const registers = [deps.registry];
    const held = (): number => [...this.#holdings.values()].filter(isRunning).length;
    new Gauge({
      name: 'tidemark_rule_leases',
      help: 'Leases of rule groups that this evaluator holds.',
      registers,
      collect() {
        this.set(held());
      },
    });
    this.#refusals = new Counter({
      name: 'tidemark_rule_fenced_total',
      help: 'Writes and confirmations that were refused because another evaluator had taken the groups over.',
      registers,
    });
  }

  /** The groups that there are; leases of others are given up. */
  use(groupKeys: readonly string[]): void {
    this.#used = new Set(groupKeys.map(ruleLeaseOf));
    this.#wake?.();
  }

  readonly owns = (groupKey: string): boolean => {
    if (!this.#isShared()) return this.#deps.shares.owns(groupKey);
    const holding = this.#holdings.get(ruleLeaseOf(groupKey));
    return holding !== undefined && isRunning(holding);
  };

  readonly othersOwn = (groupKey: string): boolean => {
    const { shares, control } = this.#deps;
    if (!this.#isShared()) return shares.othersOwn(groupKey);
    if (this.owns(groupKey)) return false;
    const name = ruleLeaseOf(groupKey);
    return shares.othersOwn(name) || control.leaseView(name)?.isOwn === false;
  };

  /** Undefined beside evaluators of earlier versions, which know no leases. */
  fenceOf(groupKey: string): GroupFence | undefined {
    return this.#holdings.get(ruleLeaseOf(groupKey))?.fence;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Gives back what is held, so that others go on at once. The groups have ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake?.();
    await this.#loop;
    await Promise.all([...this.#holdings.keys()].map((name) => this.#release(name)));
  }

  /** Evaluators of earlier versions share groups out one by one: with one of them here all do. */
  #isShared(): boolean {
    const others = this.#deps.control
      .members()
      .filter(({ service, state }) => service === 'alert-evaluator' && state === 'ready');
    this.#wasShared = others.length === 0 ? this.#wasShared : others.every(({ fences }) => fences === true);
    return this.#wasShared;
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      await this.#step().catch((caught: unknown) =>
        logger.error({ err: toAppError(caught) }, 'leases of rule groups could not be looked after'),
      );
      if (!signal.aborted) await clock.sleep(STEP_MS, woken.signal).catch(() => undefined);
    }
  }

  async #step(): Promise<void> {
    const before = this.#running();
    const isWanted = (name: string): boolean =>
      this.#isShared() && this.#used.has(name) && this.#deps.shares.owns(name);
    for (const [name, holding] of this.#holdings) {
      if (this.#isTaken(name, holding)) this.#end(name, holding);
      else if (!isWanted(name)) holding.isLeaving = true;
    }
    const leaving = [...this.#holdings].filter(([, { isLeaving }]) => isLeaving);
    if (before !== this.#running()) await this.#deps.onChange(true);
    await Promise.all(leaving.map(([name]) => this.#release(name)));
    const given = this.#running();
    const wanted = [...this.#used].filter(isWanted);
    await Promise.all(wanted.map((name) => this.#hold(name)));
    if (given !== this.#running()) await this.#deps.onChange(false);
  }

  #running(): string {
    return [...this.#holdings]
      .filter(([, holding]) => isRunning(holding))
      .map(([name]) => name)
      .sort()
      .join(' ');
  }

  /** Another process has it, as far as anybody says. While NATS is away nobody says anything, and we go on. */
  #isTaken(name: string, { lease }: Holding): boolean {
    const view = this.#deps.control.leaseView(name);
    return view !== undefined && !view.isOwn && !lease.isHeld();
  }

  #end(name: string, holding: Holding): void {
    holding.isOver = true;
    this.#holdings.delete(name);
    this.#deps.logger.info(
      { lease: name, token: holding.lease.token },
      'rule groups were taken over by another evaluator',
    );
  }

  /** The groups have ended. Whoever is next is told that it need not wait for what was on its way. */
  async #release(name: string): Promise<void> {
    const holding = this.#holdings.get(name);
    if (holding === undefined) return;
    holding.isOver = true;
    this.#holdings.delete(name);
    const { lease, startsAtMs, doubtedUntilMs, isRefused } = holding;
    if (startsAtMs !== undefined && !isRefused && lease.isHeld()) {
      const quietAtMs = Math.max(startsAtMs, doubtedUntilMs);
      const restMs = Math.ceil(Math.max(0, quietAtMs - this.#deps.clock.monotonicMs()));
      await this.#deps.tellEnd(name, lease.token, restMs);
    }
    await lease.release().catch(() => undefined);
  }

  /** Takes the lease, or what was lost of it while NATS was away, and makes its token known. */
  async #hold(name: string): Promise<void> {
    const { control } = this.#deps;
    let holding = this.#holdings.get(name);
    if (holding === undefined || (!holding.lease.isHeld() && control.isConnected())) {
      const lease = await control.tryAcquire(name);
      if (lease !== undefined && holding === undefined) {
        holding = this.#createHolding(name, lease);
        this.#holdings.set(name, holding);
      } else if (lease !== undefined && holding !== undefined) {
        holding.lease = lease;
        holding.isRefused = true;
      }
    }
    if (holding === undefined) return;
    if (holding.startsAtMs === undefined || holding.isRefused) await this.#makeKnown(name, holding);
    const { startsAtMs = Number.POSITIVE_INFINITY, isRefused } = holding;
    if (isRefused || this.#deps.clock.monotonicMs() < startsAtMs) return;
    holding.isKnown = true;
    holding.ranUnder = holding.lease.token;
  }

  async #makeKnown(name: string, holding: Holding): Promise<void> {
    const { clock, logger } = this.#deps;
    const outcome = await this.#announce(name, holding);
    if (outcome.kind === 'unreachable') {
      logger.debug(
        { lease: name, reason: outcome.reason },
        'too few ingesters know who evaluates rule groups',
      );
      return;
    }
    if (outcome.kind === 'confirmed') {
      const nowMs = clock.monotonicMs();
      const isNext = outcome.earlier !== undefined && outcome.earlier <= holding.ranUnder;
      holding.startsAtMs = isNext
        ? nowMs
        : nowMs + Math.min(outcome.quietAfterMs ?? TAKEOVER_MS, TAKEOVER_MS);
      // Another had it in between: its groups end here until then.
      if (!isNext) holding.isKnown = false;
      if (!holding.isKnown)
        holding.silentUntilMs = nowMs + Math.min(outcome.quietAfterMs ?? SILENT_MS, SILENT_MS);
      holding.isRefused = false;
      return;
    }
    // Ours by NATS, and its ingesters remember a greater token: NATS was emptied since. If it is not ours after all, this cannot succeed.
    if (holding.lease.isHeld() && (await holding.lease.raise(outcome.newest))) holding.isRefused = true;
    else if (this.#deps.control.isConnected() || holding.isRefused) {
      holding.isRefused = true;
      if (!holding.lease.isHeld()) this.#end(name, holding);
    }
  }

  async #announce(name: string, holding: Holding): Promise<FenceOutcome> {
    const askedAtMs = this.#deps.clock.monotonicMs();
    const { token } = holding.lease;
    const outcome = await this.#deps.announce(name, token);
    if (outcome.kind === 'confirmed' && token === holding.lease.token) holding.confirmedAtMs = askedAtMs;
    return outcome;
  }

  #createHolding(name: string, lease: Lease): Holding {
    const holding: Holding = {
      ...{ lease, isKnown: false, isLeaving: false, isOver: false, isRefused: false },
      ...{ startsAtMs: undefined, ranUnder: 0, doubtedUntilMs: 0 },
      ...{ silentUntilMs: Number.POSITIVE_INFINITY, confirmedAtMs: Number.NEGATIVE_INFINITY },
      fence: this.#createFence(name, () => holding),
    };
    return holding;
  }

  #createFence(name: string, holding: () => Holding): GroupFence {
    const { clock } = this.#deps;
    let confirming: Promise<void> | undefined;
    const confirm = async (): Promise<void> => {
      const { signal } = this.#stopping;
      // A timer may end a little early.
      const restMs = (): number => holding().silentUntilMs - clock.monotonicMs();
      while (restMs() > 0 && restMs() <= SILENT_MS && !signal.aborted)
        await clock.sleep(Math.ceil(restMs()), signal).catch(() => undefined);
      if (holding().isOver || holding().lease.heldForMs() >= HELD_FOR_MIN_MS) return;
      const outcome = await this.#announce(name, holding());
      if (outcome.kind === 'superseded') this.#refuse(holding());
    };
    return {
      name,
      get token() {
        return holding().lease.token;
      },
      confirm: () => {
        confirming ??= confirm().finally(() => {
          confirming = undefined;
        });
        return confirming;
      },
      validForMs: () => {
        const { isOver, isRefused, silentUntilMs, lease, confirmedAtMs } = holding();
        const nowMs = clock.monotonicMs();
        if (isOver || isRefused || nowMs < silentUntilMs) return 0;
        return Math.max(lease.heldForMs(), confirmedAtMs + CONFIRMED_FOR_MS - nowMs, 0);
      },
      refused: () => this.#refuse(holding()),
      doubted: () => {
        holding().doubtedUntilMs = clock.monotonicMs() + DOUBT_MS;
      },
    };
  }

  #refuse(holding: Holding): void {
    this.#refusals.inc();
    holding.isRefused = true;
    this.#wake?.();
  }
}

function isRunning({ isKnown, isLeaving, isOver }: Holding): boolean {
  return isKnown && !isLeaving && !isOver;
}
