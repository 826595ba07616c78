// What stores are told by the configuration file, under `tidemark:`: how samples become coarser with age, and which series are kept
// for another time than all others.
import type { Matcher } from '../../model/matcher.ts';

/** One resolution that samples are aggregated to. */
export interface DownsamplingLevel {
  readonly resolutionMs: number;
  /** Age from which samples are aggregated; they themselves stay as long as their own retention says. */
  readonly afterMs: number;
  /** How long the aggregates are kept, by the age of what they stand for; 0 for ever. */
  readonly retentionMs: number;
}

/** Series that are kept for a time of their own. Of several rules that match, the first counts. */
export interface RetentionRule {
  /** As written, for people. */
  readonly match: string;
  readonly matchers: readonly Matcher[];
  /** 0: for ever. */
  readonly retentionMs: number;
}

export interface StoragePolicy {
  /** Ascending by resolution, each a multiple of the one before. */
  readonly downsampling: readonly DownsamplingLevel[];
  readonly retention: readonly RetentionRule[];
}

export const NO_STORAGE_POLICY: StoragePolicy = Object.freeze({ downsampling: [], retention: [] });
