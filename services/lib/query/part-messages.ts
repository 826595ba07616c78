// What a node's main thread and the thread that evaluates a part say to each other.
import type { PromqlFeatures } from '../promql/features.ts';
import type { PackedError } from '../runtime/worker-tasks.ts';
import type { QuerySteps } from './part-plan.ts';

/** Opens the task. */
export interface PartOrder extends QuerySteps {
  readonly query: string;
  /** Index in the plan. */
  readonly part: number;
  readonly lookbackMs: number;
  readonly subqueryIntervalMs: number;
  readonly features: PromqlFeatures;
  readonly samplesMax: number;
  readonly memoryBytesMax: number;
  readonly replicaLabels: readonly string[];
  /** All series of the part's selector: frames of one or more runs, each in label order. Given away. */
  readonly runs: readonly (readonly Uint8Array[])[];
}

export interface ToPart {
  readonly kind: 'cancel';
  readonly error: PackedError;
}

/** The last message. */
export type FromPart =
  | { readonly kind: 'partial'; readonly frames: readonly Uint8Array<ArrayBuffer>[] }
  /** The part cannot be evaluated here: what it reads is not of these series alone. */
  | { readonly kind: 'refused'; readonly reason: string };
