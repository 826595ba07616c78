// The clients of the simulated cluster: senders that send again until they are told 204, and an oracle that asks without a
// pause and judges each answer. They are outside of the world's machines: nothing ever happens to them.

import { toAppError } from '../../../services/lib/core/errors.ts';
import { decodeLabels } from '../../../services/lib/model/labels.ts';
import { QuerierDefinition } from '../../../services/lib/wire/contracts.ts';
import { readResultFrame } from '../../../services/lib/wire/frames/result-frame.ts';
import { type Effects, EVALUATED_METRIC } from './evaluator.ts';
import {
  expectedValue,
  type FoundSeries,
  judge,
  type Ledger,
  SIM_METRIC,
  SLOT_MS,
  TENANT,
  timeOf,
} from './ledger.ts';
import { QUERY_TIMEOUT_MS, type SimCluster, type SimNode } from './sim-cluster.ts';
import { WORLD_START_MS } from './world.ts';

/** All samples of a run are younger than this at its end. */
export const HISTORY_MS = 1_800_000;
const RETRY_MS = 250;
/** Slots a writer may fall behind: what it sends late is as old. */
const LATE_SLOTS_MAX = 8_000;

/** What happened in a run, for its line and its verdict. */
export interface Tally {
  requests: number;
  retries: number;
  /** Acknowledged samples. */
  acked: number;
  /** Deletes that were acknowledged, and those of them that were taken back. */
  deletes: number;
  undone: number;
  /** Deletes that were done while an ingester was gone. */
  missed: number;
  queries: number;
  /** Answers that called themselves complete. */
  complete: number;
  /** Answers with a warning that something is missing. */
  partial: number;
  /** Queries that were refused or failed. */
  refused: number;
  readonly lost: string[];
  readonly wrong: string[];
}

export function newTally(): Tally {
  return {
    ...{ requests: 0, retries: 0, acked: 0, deletes: 0, undone: 0, missed: 0 },
    ...{ queries: 0, complete: 0, partial: 0, refused: 0 },
    ...{ lost: [], wrong: [] },
  };
}

/** One sender with one ledger. */
export class Writer {
  readonly ledger: Ledger;
  readonly #cluster: SimCluster;
  readonly #tally: Tally;
  #isRunning = true;
  /** Slots of which an attempt failed: something of it may still be on its way when the next one was acknowledged. */
  readonly #failed: number[] = [];

  constructor(ledger: Ledger, cluster: SimCluster, tally: Tally) {
    this.ledger = ledger;
    this.#cluster = cluster;
    this.#tally = tally;
  }

  stop(): void {
    this.#isRunning = false;
  }

  /** Sends until it is stopped. */
  async run(pauseMs: number): Promise<void> {
    const { world } = this.#cluster;
    while (this.#isRunning) {
      const slots = this.#nextSlots();
      await this.send(slots, () => this.#isRunning);
      // As after a lost answer: the same request once more.
      if (world.chance(0.1)) await this.#attempt(slots);
      await world.sleep(world.random() * 2 * pauseMs);
    }
  }

  /** Sends a request until it is acknowledged; false when `goesOn` has it given up. */
  async send(slots: readonly number[], goesOn: () => boolean): Promise<boolean> {
    const { world } = this.#cluster;
    this.#tally.requests++;
    for (const slot of slots) this.ledger.sent.add(slot);
    while (!(await this.#attempt(slots))) {
      if (!goesOn()) return false;
      this.#tally.retries++;
      await world.sleep(RETRY_MS);
    }
    for (const slot of slots) {
      if (!this.ledger.acked.has(slot)) this.#tally.acked += this.ledger.series;
      this.ledger.acked.add(slot);
    }
    return true;
  }

  /** Mostly now, at times late, and never a slot twice. */
  #nextSlots(): number[] {
    const { world } = this.#cluster;
    const isLate = world.chance(0.15);
    const now = Math.floor(world.nowMs / SLOT_MS);
    const count = world.between(1, 4);
    const slots: number[] = [];
    for (let attempt = 0; slots.length < count && attempt < 20; attempt++) {
      const slot = now - (isLate ? world.between(0, LATE_SLOTS_MAX) : world.between(0, 40));
      if (!this.ledger.sent.has(slot) && !slots.includes(slot)) slots.push(slot);
    }
    return slots;
  }

  /** One request to one gateway; true when it answered 204. */
  async #attempt(slots: readonly number[]): Promise<boolean> {
    const { ledger } = this;
    ledger.sending(slots);
    const isWritten = await onGateway(this.#cluster, (gateway) => write(gateway, ledger, slots));
    if (isWritten === true && !this.#failed.some((slot) => slots.includes(slot))) ledger.settled(slots);
    if (isWritten !== true) this.#failed.push(...slots);
    return isWritten === true;
  }
}

/** Writes samples of all series of a writer through a gateway; whether all were written. */
async function write({ distributor }: SimNode, ledger: Ledger, slots: readonly number[]): Promise<boolean> {
  const { series } = ledger;
  const appender = distributor!.appender(TENANT);
  const count = slots.length * series;
  const columns = {
    count,
    references: new Uint32Array(count),
    timestampsMs: new Float64Array(count),
    values: new Float64Array(count),
  };
  for (let i = 0; i < series; i++) {
    const reference = appender.resolve(ledger.labelsOf(i));
    for (const [j, slot] of slots.entries()) {
      columns.references[j * series + i] = reference;
      columns.timestampsMs[j * series + i] = timeOf(slot);
      columns.values[j * series + i] = expectedValue(slot, i);
    }
  }
  const { written } = await appender.write(columns, [], new AbortController().signal);
  return written === count;
}

/**
 * Has a gateway do something, in its process. The request arrives after a moment, and so does its answer, if the gateway lives until then.
 *
 * @returns undefined when it failed, or no gateway is there.
 */
export async function onGateway<T>(
  cluster: SimCluster,
  work: (gateway: SimNode) => Promise<T>,
): Promise<T | undefined> {
  const { world } = cluster;
  const up = cluster.of('gateway').filter(({ distributor }) => distributor !== undefined);
  if (up.length === 0) return undefined;
  const gateway = up[world.between(0, up.length - 1)]!;
  const process = gateway.host.process!;
  const answered = Promise.withResolvers<T | undefined>();
  const fail = (): void => answered.resolve(undefined);
  process.onDeath.push(fail);
  const begin = (): void => {
    work(gateway).then(answered.resolve, fail);
  };
  world.schedule(world.random(), begin, process);
  return answered.promise;
}

/** What became of one question: `complete`, `partial`, or why it was refused. */
export type Answer = string;

/** Asks a querier for all samples of a writer and judges the answer. */
export async function ask(
  cluster: SimCluster,
  ledger: Ledger,
  tally: Tally,
  when: string,
  { address }: SimNode,
  isPartialAllowed = false,
): Promise<Answer> {
  tally.queries++;
  const mustHave = [...ledger.acked];
  const mustLack = ledger.mustLack();
  const found = new Map<number, FoundSeries>();
  let warnings: readonly string[] | undefined;
  try {
    const { client } = cluster.network.connect(QuerierDefinition, {
      address,
      unaryTimeoutMs: QUERY_TIMEOUT_MS,
    });
    // Two times of three all samples as they are stored, the third time by a step at each slot, which the result cache has a part in.
    const nowMs = WORLD_START_MS + Math.ceil(cluster.world.nowMs);
    const selector = `${SIM_METRIC}{writer="${ledger.writer}"}`;
    const what =
      tally.queries % 3 > 0
        ? { query: `${selector}[${HISTORY_MS}ms]`, startMs: nowMs, stepMs: 0, lookbackMs: 0 }
        : { query: selector, startMs: timeOf(-LATE_SLOTS_MAX), stepMs: SLOT_MS, lookbackMs: 1 };
    const request = {
      ...{ tenant: TENANT, ...what, endMs: nowMs, timeoutMs: 0, limit: 0 },
      allowPartial: isPartialAllowed,
    };
    for await (const { part } of client.query(request, { signal: new AbortController().signal })) {
      if (part?.$case === 'frame') collect(part.value, found);
      else if (part?.$case === 'trailer') ({ warnings } = part.value);
    }
  } catch (caught) {
    const { code, message } = toAppError(caught);
    if (code === 'internal') tally.wrong.push(`${when}: a query failed as internal: ${message}`);
    return refused(tally, message);
  }
  if (warnings === undefined) return refused(tally, 'the answer has no trailer');
  const isComplete = warnings.length === 0;
  const verdict = judge(ledger, found, mustHave, mustLack, isComplete);
  tally[isComplete ? 'complete' : 'partial']++;
  report(tally.lost, when, verdict.lost);
  report(tally.wrong, when, verdict.wrong);
  return isComplete ? 'complete' : 'partial';
}

/** Samples of the evaluators' series that a querier sees; none when it refuses. */
export async function seeEvaluated(
  { network, world }: SimCluster,
  { address }: SimNode,
  effects: Pick<Effects, 'see'>,
): Promise<void> {
  const { client } = network.connect(QuerierDefinition, { address, unaryTimeoutMs: QUERY_TIMEOUT_MS });
  const nowMs = WORLD_START_MS + Math.ceil(world.nowMs);
  const request = {
    ...{ tenant: TENANT, query: `${EVALUATED_METRIC}[${HISTORY_MS}ms]`, startMs: nowMs, endMs: nowMs },
    ...{ stepMs: 0, lookbackMs: 0, timeoutMs: 0, limit: 0, allowPartial: true },
  };
  try {
    for await (const { part } of client.query(request, { signal: new AbortController().signal })) {
      if (part?.$case !== 'frame') continue;
      readResultFrame(part.value, (bytes, start, end, timestampsMs, values, count) => {
        const group = decodeLabels(bytes, start, end).get('group') ?? '';
        for (let i = 0; i < count; i++) effects.see(group, timestampsMs[i]!, values[i]!);
      });
    }
  } catch (caught) {
    if (toAppError(caught).code === 'internal') throw caught;
  }
}

function refused(tally: Tally, why: string): Answer {
  tally.refused++;
  return `refused: ${why}`;
}

function report(into: string[], when: string, found: readonly string[]): void {
  const shown =
    found.length > 3 ? `${found.slice(0, 3).join(', ')} and ${found.length - 3} more` : found.join(', ');
  if (found.length > 0) into.push(`${when}: ${shown}`);
}

function collect(frame: Uint8Array, found: Map<number, FoundSeries>): void {
  readResultFrame(frame, (bytes, start, end, timestampsMs, values, count) => {
    const series = Number(decodeLabels(bytes, start, end).get('series'));
    // A sample of a series in two rows must not hide.
    const before = found.get(series);
    found.set(series, {
      timesMs: [...(before?.timesMs ?? []), ...timestampsMs.subarray(0, count)],
      values: [...(before?.values ?? []), ...values.subarray(0, count)],
    });
  });
}
