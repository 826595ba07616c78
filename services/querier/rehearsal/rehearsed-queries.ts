// What is rehearsed before a process says that it answers queries, and for how long. Where it is asked is the caller's: a querier asks itself
// (rehearsal.ts), one process its own gateway as well. V8 compiles what runs often; without this a user's first dozens of queries take
// two to three times as long as all that follow.
import type { Clock } from '../../lib/core/clock.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Service } from '../../lib/runtime/service.ts';
import type { WorkerPool } from '../../lib/runtime/worker-pool.ts';
import type { QuerierOptions } from '../options.ts';
import { REHEARSED_END_MS, REHEARSED_SPAN_MS } from './rehearsed-head.ts';

/** Turns of all queries, those of the main thread and of the others: after so many, most of what they run is compiled. */
const TURNS_MAX = 13;
/** The start waits no longer, however slow the machine is: what is asked then is given up. */
export const REHEARSAL_MS_MAX = 1_500;

/** A query over all made-up samples. */
export interface RehearsedQuery {
  readonly query: string;
  readonly startMs: number;
  readonly endMs: number;
  /** 0: an instant query, at `endMs`. */
  readonly stepMs: number;
}

const over = (query: string, stepSeconds = 0): RehearsedQuery => ({
  ...{ query, stepMs: stepSeconds * 1000, endMs: REHEARSED_END_MS },
  startMs: REHEARSED_END_MS - (stepSeconds > 0 ? REHEARSED_SPAN_MS : 0),
});

/** The kinds of queries that dashboards and rules consist of. */
const QUERIES: readonly RehearsedQuery[] = [
  over('sum by (instance) (rate(rehearsed_seconds_total[5m]))'),
  over('sum by (mode) (rate(rehearsed_seconds_total{mode!="idle",instance=~"host-.*"}[5m]))', 15),
  over('rehearsed_bytes', 15),
  over('100 * (1 - rehearsed_bytes / rehearsed_limit_bytes)', 15),
  over('topk(5, rate(rehearsed_seconds_total{mode="user"}[5m]))', 15),
  over('quantile by (job) (0.99, rehearsed_bytes)', 15),
  over('avg_over_time(rehearsed_bytes[10m])', 15),
  over('count({job="rehearsal"})', 60),
  over(
    'sum by (mode) (increase(rehearsed_seconds_total[5m])) + on (mode) max by (mode) (rehearsed_seconds_total)',
    15,
  ),
  over('max_over_time(sum(rate(rehearsed_seconds_total{mode="user"}[1m]))[10m:1m])', 30),
  over('histogram_quantile(0.9, sum by (le) (rate(rehearsed_seconds_bucket[5m])))', 30),
];

/** Services that answer queries, beside those of the process. */
export interface Stage {
  /** Resolves when the whole answer was read. @throws when it is none. */
  ask(query: RehearsedQuery): Promise<void>;
  close(): Promise<void>;
}

export interface RehearsalDeps {
  /** The querier's, which is what is to be trained. Running. */
  readonly threads: WorkerPool;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends it: the process is told to stop. */
  readonly signal?: AbortSignal;
}

/**
 * Answers the queries above in turn, until they were answered often enough or took long enough. Nothing of it is stored, listed or counted
 * but the threads' tasks. What goes wrong is logged: a start does not depend on it.
 *
 * @param stageOf  Makes what answers, with these options; closed when it is over.
 *
 * Cost: REHEARSAL_MS_MAX at most, and about 1.5 s of CPU, half of it the compilers'.
 */
export async function rehearseOn(
  stageOf: (options: QuerierOptions) => Stage,
  options: QuerierOptions,
  { clock, logger, signal }: RehearsalDeps,
  turns: number = TURNS_MAX,
): Promise<void> {
  const startedMs = clock.monotonicMs();
  const limit = limitOf(clock, signal);
  // Small queries are the main thread's, others the threads': both are to be trained, these the more.
  const stages = [stageOf({ ...options, mainThreadMsMax: 0 }), stageOf(options)];
  let answers = 0;
  try {
    for (let turn = 0; turn < turns; turn++) {
      for (const query of QUERIES) {
        if (limit.isOver) return;
        const answered = stages[turn % 4 === 3 ? 1 : 0]!.ask(query).then(() => true);
        // Of one that nobody waits for any more, whatever became of it.
        answered.catch(() => undefined);
        if (!(await Promise.race([answered, limit.over]))) return;
        answers++;
      }
    }
  } catch (err) {
    if (limit.isOver) return;
    logger.warn({ err }, 'queries were not rehearsed; the first ones will be slower');
  } finally {
    limit.end();
    for (const stage of stages) await stage.close();
    logger.debug({ answers, elapsedMs: clock.monotonicMs() - startedMs }, 'queries rehearsed');
  }
}

/** Over when the time is, or the process is told to stop. */
function limitOf(clock: Clock, signal: AbortSignal | undefined) {
  const over = Promise.withResolvers<false>();
  const ended = new AbortController();
  const limit = {
    ...{ isOver: false, over: over.promise },
    end: () => ended.abort(),
  };
  const expire = (): void => {
    limit.isOver = true;
    over.resolve(false);
  };
  if (signal?.aborted === true) expire();
  signal?.addEventListener('abort', expire, { once: true, signal: ended.signal });
  clock.sleep(REHEARSAL_MS_MAX, ended.signal).then(expire, () => undefined);
  return limit;
}

/**
 * Threads of a querier, which have rehearsed when they are started. A stop meanwhile ends that, and is no error.
 *
 * @param rehearse  Absent: they only start.
 */
export function rehearsedThreads(
  threads: WorkerPool,
  rehearse: ((signal: AbortSignal) => Promise<void>) | undefined,
): Service {
  const stopping = new AbortController();
  const { signal } = stopping;
  return {
    name: 'query threads',
    start: async () => {
      try {
        await threads.start();
      } catch (caught) {
        if (!signal.aborted) throw caught;
      }
      await rehearse?.(signal);
    },
    isReady: () => true,
    drain: async () => stopping.abort(),
    stop: () => threads.stop(),
  };
}
