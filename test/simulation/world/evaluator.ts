// An alert evaluator of the simulated cluster, and what its work came to. Leases, fences, tokens and writes are the services' own code; a rule is a
// sample whose value is the token under which it was written, after a query that takes a moment, and a notification is noted where it would be sent.
import type { Registry } from 'prom-client';
import { announceFence, endFence } from '../../../services/alert-evaluator/fence-quorum.ts';
import { type GroupFence, RuleLeases } from '../../../services/alert-evaluator/rule-leases.ts';
import { writeRuleSamples } from '../../../services/alert-evaluator/rule-writer.ts';
import type { Clock } from '../../../services/lib/core/clock.ts';
import { type Distributor, FencedWriteError } from '../../../services/lib/distributor/appender.ts';
import { Labels } from '../../../services/lib/model/labels.ts';
import { RuleSamples } from '../../../services/lib/rules/rule-samples.ts';
import type { Logger } from '../../../services/lib/runtime/logger.ts';
import type { Service } from '../../../services/lib/runtime/service.ts';
import type { Cluster } from '../../../services/lib/transport/cluster.ts';
import type { ControlPlane } from '../../../services/lib/transport/control-plane.ts';
import { createWorkShares } from '../../../services/lib/transport/members/work-shares.ts';
import { TENANT } from './ledger.ts';
import type { World } from './world.ts';

const GROUPS = ['f;a', 'f;b', 'f;c'];
export const EVALUATED_METRIC = 'evaluated';
const INTERVAL_MS = 2_000;
const SETTLE_MS = 500;

/** Something that a holder did: from when it was begun until it had effect, virtual milliseconds. */
interface Effect {
  readonly token: number;
  readonly by: string;
  readonly begunMs: number;
  readonly doneMs: number;
}

/** What holders of leases did in a run, judged as it happens. */
export class Effects {
  readonly #world: World;
  readonly #wrong: string[];
  /** By what was done to what: the effect of the greatest token that was done first. */
  readonly #newest = new Map<string, Effect>();
  /** By group and token: when a write under it was first acknowledged. */
  readonly #firstWrites = new Map<string, Map<number, number>>();
  /** By group, time and token of a sample: when it was first attempted to be written. */
  readonly #attempts = new Map<string, number>();
  isOver = false;
  count = 0;
  /** Writes that were refused, and notifications that were not sent, for want of the lease. */
  fenced = 0;

  constructor(world: World, wrong: string[]) {
    this.#world = world;
    this.#wrong = wrong;
  }

  /** A holder begins to write a sample. */
  attempt(group: string, timeMs: number, token: number): void {
    const key = `${group} ${timeMs} ${token}`;
    this.#attempts.set(key, this.#attempts.get(key) ?? this.#world.nowMs);
  }

  /** And was told that it is durable. */
  acknowledged(group: string, token: number): void {
    const firsts = this.#firstWrites.get(group) ?? new Map<number, number>();
    this.#firstWrites.set(group, firsts);
    firsts.set(token, firsts.get(token) ?? this.#world.nowMs);
  }

  /** Nothing may be seen of a write, acknowledged or not, that was begun when a later holder's had been acknowledged. */
  see(group: string, timeMs: number, token: number): void {
    const begunMs = this.#attempts.get(`${group} ${timeMs} ${token}`);
    if (begunMs === undefined) {
      this.#wrong.push(`a sample of ${group} under token ${token} that nobody wrote`);
      return;
    }
    for (const [later, doneMs] of this.#firstWrites.get(group) ?? [])
      if (later > token && doneMs < begunMs)
        this.#wrong.push(
          `two holders: a sample of ${group} under token ${token} is seen, begun at ${Math.round(begunMs)} ms; one under token ${later} was acknowledged at ${Math.round(doneMs)} ms`,
        );
  }

  /** No holder may have effect once a later one has had. */
  note(what: string, token: number, by: string, begunMs: number): void {
    this.count++;
    const newest = this.#newest.get(what);
    const doneMs = this.#world.nowMs;
    if (newest !== undefined && token < newest.token && begunMs > newest.doneMs)
      this.#wrong.push(
        `two holders: ${what} by ${by} with token ${token}, begun at ${Math.round(begunMs)} ms, after ${newest.by} had done it with token ${newest.token} at ${Math.round(newest.doneMs)} ms`,
      );
    if (newest === undefined || token > newest.token) this.#newest.set(what, { token, by, begunMs, doneMs });
  }
}

/** What an evaluator is built on. */
interface EvaluatorBase {
  readonly control: ControlPlane;
  readonly deps: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly registry: Registry;
    readonly cluster: Cluster;
  };
}

export interface EvaluatorDeps {
  readonly world: World;
  readonly name: string;
  readonly base: EvaluatorBase;
  readonly cluster: Cluster;
  readonly distributor: Distributor;
  readonly effects: Effects;
  /** A planted bug: it notifies whatever its lease says. */
  readonly trustsItself: boolean;
}

/** Runs for as long as its process lives. */
export function createSimEvaluator(deps: EvaluatorDeps): Service[] {
  const { base, name, effects } = deps;
  const { clock } = base.deps;
  const shares = createWorkShares(
    { service: 'alert-evaluator', instance: name, settleMs: SETTLE_MS },
    { control: base.control, clock },
  );
  const leases: RuleLeases = new RuleLeases({
    ...{ control: base.control, shares, ...base.deps },
    announce: (lease, token) => announceFence(lease, token, { cluster: deps.cluster, clock }),
    tellEnd: (lease, token, quietMs) => endFence(lease, token, quietMs, { cluster: deps.cluster, clock }),
    onChange: () => ended((group) => !leases.owns(group)),
  });
  /** What groups are doing right now. */
  const running = new Map<string, Promise<void>>();
  const ended = async (isLost: (group: string) => boolean): Promise<void> => {
    for (const [group, evaluation] of running) if (isLost(group)) await evaluation;
  };
  const runForever = async (group: string): Promise<void> => {
    while (!effects.isOver) {
      await clock.sleep(INTERVAL_MS);
      const fence = leases.fenceOf(group);
      if (effects.isOver || isStopping || !leases.owns(group) || fence === undefined) continue;
      const evaluation = evaluate(group, fence, deps);
      running.set(group, evaluation);
      await evaluation;
    }
  };
  let isStopping = false;
  const stop = async (): Promise<void> => {
    isStopping = true;
    await ended(() => true);
    await leases.stop();
  };
  leases.use(GROUPS);
  const service: Service = {
    name: 'evaluator',
    start: async () => {
      leases.start();
      for (const group of GROUPS) void runForever(group);
    },
    isReady: () => true,
    drain: stop,
    stop,
  };
  return [service];
}

async function evaluate(group: string, fence: GroupFence, deps: EvaluatorDeps): Promise<void> {
  const { world, base } = deps;
  // The query; a process is stopped in it as well as anywhere.
  await base.deps.clock.sleep(world.random() * 500);
  await notify(group, fence, deps);
  await write(group, fence, deps).catch(() => fence.doubted());
}

async function write(group: string, fence: GroupFence, deps: EvaluatorDeps): Promise<void> {
  const { world, distributor, effects, name } = deps;
  const { token } = fence;
  const samples = new RuleSamples();
  const labels = Labels.from([
    ['__name__', EVALUATED_METRIC],
    ['group', group],
  ]);
  const timeMs = Math.floor(Date.now() / INTERVAL_MS) * INTERVAL_MS;
  samples.add(labels, timeMs, token);
  const begunMs = world.nowMs;
  effects.attempt(group, timeMs, token);
  try {
    const held = { name: fence.name, token };
    await writeRuleSamples(
      samples,
      distributor.appender(TENANT),
      new AbortController().signal,
      held as GroupFence,
    );
    effects.acknowledged(group, token);
    effects.note(`samples of ${group}`, token, name, begunMs);
  } catch (caught) {
    if (!(caught instanceof FencedWriteError)) throw caught;
    effects.fenced++;
    fence.refused();
  }
}

async function notify(group: string, fence: GroupFence, deps: EvaluatorDeps): Promise<void> {
  const { world, effects, name, trustsItself } = deps;
  await fence.confirm();
  // As the notifier does: right before the first byte.
  if (fence.validForMs() > 0 || trustsItself)
    effects.note(`notifications of ${group}`, fence.token, name, world.nowMs);
  else effects.fenced++;
}
