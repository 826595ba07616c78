// What the main thread and the thread that evaluates a query say to each other, in one task of the worker pool.
import { runBytes, type SeriesRun } from '../../lib/model/series-run.ts';
import type { Expr } from '../../lib/promql/ast.ts';
import type { EngineOptions, QueryResult } from '../../lib/promql/engine/query.ts';
import type { PackedError } from '../../lib/runtime/worker-tasks.ts';
import type { QueryRequest, QueryTrailer } from '../../lib/wire/contracts.ts';
import type { PartPush } from '../push-down/pushed.ts';
import type { UnionLimits } from '../selection/series-union.ts';
import type { FrameRequest } from '../selection/uniting-queryable.ts';
import type { MemoryPool } from './memory-budget.ts';
import type { AssistanceOrder, ParallelOptions } from './parallel.ts';
import type { QueryBlock } from './query-block.ts';

/** Opens the task. */
export interface EvaluationOrder {
  readonly request: QueryRequest;
  readonly engine: Pick<
    EngineOptions,
    'lookbackMs' | 'samplesMax' | 'features' | 'noStepSubqueryIntervalMs' | 'sliceMs'
  >;
  readonly limits: UnionLimits;
  readonly memoryBytesMax: number;
  readonly memoryTotalBytesMax: number;
  readonly parallel: ParallelOptions;
  /** Set: parts of the query may be evaluated by ingesters, where their windows are beyond so many Unix milliseconds. */
  readonly horizonMs?: number;
  /** Set: and by stores, where their windows are before so many. */
  readonly sealedBeforeMs?: number;
  /** Set: not the query, but this much of it, for another thread. */
  readonly assistance?: AssistanceOrder;
  /** Keys of selects that the main thread makes unasked (planned-selects.ts): their numbers are their places, others' come behind. */
  readonly planned?: readonly string[];
  /** Only for evaluation in the same thread. */
  readonly local?: LocalOrder;
  /** What there is of their answers. */
  readonly early?: readonly ToEvaluation[];
  /** The query's QueryBlock. */
  readonly block: SharedArrayBuffer;
  /** The process' MemoryPool. */
  readonly pool: SharedArrayBuffer;
}

/** What an order carries within its thread. */
export interface LocalOrder {
  /** The query, parsed. */
  readonly expr: Expr;
  /** What `block` and `pool` of the order are of. */
  readonly block: QueryBlock;
  readonly pool: MemoryPool;
}

/** A series frame or a run of series, charged to the query's account already. */
export interface SentFrame {
  /** The node's name. */
  readonly from: string;
  /** Empty where there is a run. */
  readonly frame: Uint8Array;
  readonly run?: SeriesRun;
}

/** What one takes of memory. */
export function sentBytes({ frame, run }: SentFrame): number {
  return run === undefined ? frame.length : runBytes(run);
}

export type ToEvaluation =
  /** Frames of a select, some at a time. With `gaps`: all nodes have answered, and this is what is missing. */
  | {
      readonly kind: 'frames';
      readonly select: number;
      readonly frames: readonly SentFrame[];
      readonly gaps?: readonly string[];
    }
  | { readonly kind: 'select-failed'; readonly select: number; readonly error: PackedError }
  /** What another thread answered to `assist`; without frames and error, none is free. */
  | {
      readonly kind: 'assisted';
      readonly assistance: number;
      readonly frames?: readonly Uint8Array[];
      readonly error?: PackedError;
    }
  /** What nodes answered to `push`: partial results of theirs, charged to the query's account, and what none is of. */
  | {
      readonly kind: 'pushed';
      readonly push: number;
      readonly results: readonly (readonly Uint8Array[])[];
      readonly refused: readonly number[];
      readonly error?: PackedError;
    }
  /** The consumer took a message of parts. */
  | { readonly kind: 'taken' }
  | { readonly kind: 'cancel'; readonly error: PackedError };

export type FromEvaluation =
  | { readonly kind: 'select'; readonly select: number; readonly request: FrameRequest }
  /**
   * What these nodes sent for a select was malformed: answered with `gaps` once more, as if they had not answered, or with
   * `select-failed`.
   */
  | {
      readonly kind: 'discarded';
      readonly select: number;
      readonly nodes: readonly { readonly from: string; readonly error: PackedError }[];
    }
  | { readonly kind: 'push'; readonly push: number; readonly order: PartPush }
  | { readonly kind: 'assist'; readonly assistance: number; readonly order: AssistanceOrder }
  /** A partial result (wire/frames/partial-result.ts): all that a task of assistance says. */
  | { readonly kind: 'partial'; readonly frames: readonly Uint8Array<ArrayBuffer>[] }
  /** The next parts of the answer; a few such messages are sent ahead of `taken`. */
  | { readonly kind: 'parts'; readonly parts: readonly QueryPart[] };

/** A part of the answer: as QueryResponse has them, but without its enumerations, whose code the threads need not load. */
export type QueryPart =
  | { readonly kind: 'header'; readonly type: QueryResult['type']; readonly text: string }
  | { readonly kind: 'frame'; readonly frame: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'trailer'; readonly trailer: Omit<QueryTrailer, 'queueMs'> };
