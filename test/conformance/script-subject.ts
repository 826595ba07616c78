// What a script runs against: something that takes its series and answers its queries. The one in memory is the engine itself.
import type { Labels } from '../../services/lib/model/labels.ts';
import type { QueryContext } from '../../services/lib/model/queryable.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import type { EngineOptions, QueryRequest, QueryResult } from '../../services/lib/promql/engine/query.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { type LoadedSample, MemoryQueryable } from './memory-queryable.ts';
import { convertClassic } from './nhcb.ts';
import type { Answer } from './script-answer.ts';
import type { LoadCommand } from './script-parser.ts';

/** What upstream's runner sets its engine to. */
export const SCRIPT_ENGINE: EngineOptions = {
  lookbackMs: 300_000,
  samplesMax: 10_000,
  features: ALL_FEATURES,
  noStepSubqueryIntervalMs: 60_000,
};

export const CONTEXT: QueryContext = { signal: new AbortController().signal, chargeBytes: () => {} };

export interface LoadedSeries {
  readonly labels: Labels;
  readonly samples: readonly LoadedSample[];
}

/** A query of a script: the tree, and its text where that is what is asked. */
export interface ScriptQuery extends QueryRequest {
  readonly query: string;
  /** The text of `expr`, which is `query` unless the runner changed the tree. */
  readonly text: string;
}

export interface ScriptSubject {
  /** Cases that may run at once. */
  readonly concurrency: number;
  /** Whether an instant query with pinned selectors is asked for at this one of its times, which count from 0. */
  readonly asksPinned: (index: number) => boolean;
  /** It is asked in text, and parses that: positions of its annotations are those of the text that was asked. */
  readonly parses: boolean;
  clear(): Promise<void>;
  load(series: readonly LoadedSeries[]): Promise<void>;
  /** @throws AppError with the words that the subject refuses or fails the query with. */
  evaluate(query: ScriptQuery): Promise<Answer>;
  /** Asks what does not parse, where the subject parses itself: the words of its error. @throws Error when it answers. */
  refuse?(text: string, timeMs: number): Promise<string>;
}

/** Evaluates a query over what a script has loaded. */
export type Evaluate = (request: QueryRequest, storage: MemoryQueryable) => Promise<QueryResult>;

/** Series in memory. @param evaluate  Default: the engine, over all series at once. */
export function memorySubject(evaluate: Evaluate = wholly()): ScriptSubject {
  const storage = new MemoryQueryable();
  return {
    concurrency: 1,
    asksPinned: () => true,
    parses: false,
    clear: () => Promise.resolve(storage.clear()),
    load: (series) => {
      for (const { labels, samples } of series) storage.append(labels, samples);
      return Promise.resolve();
    },
    evaluate: (query) => evaluate(query, storage),
  };
}

function wholly(): Evaluate {
  const engine = createEngine(SCRIPT_ENGINE);
  return (request, storage) => engine.execute(request, storage, CONTEXT);
}

/** The series that a load command makes, at its times. */
export function seriesOf(command: LoadCommand): LoadedSeries[] {
  const loaded = command.series.map(({ labels, values, startOffsetsMs }): LoadedSeries => {
    const samples: LoadedSample[] = [];
    values.forEach((value, i) => {
      const timeMs = i * command.intervalMs;
      const offsetMs = startOffsetsMs?.[i];
      const start = offsetMs === undefined ? {} : { startMs: timeMs + offsetMs };
      if (value.kind === 'float') samples.push({ timeMs, value: value.value, isStale: false, ...start });
      else if (value.kind === 'histogram') {
        samples.push({ timeMs, value: Number.NaN, isStale: false, histogram: value.histogram, ...start });
      } else if (value.kind === 'stale') samples.push({ timeMs, value: Number.NaN, isStale: true });
    });
    return { labels, samples };
  });
  if (!command.withNhcb) return loaded;
  const converted = convertClassic(command.series).map(({ labels, histograms }): LoadedSeries => {
    const samples = [...histograms].map(([i, histogram]): LoadedSample => {
      return { timeMs: i * command.intervalMs, value: Number.NaN, isStale: false, histogram };
    });
    return { labels, samples };
  });
  return [...loaded, ...converted];
}
