// Which series of a block retention rules have let go of: those whose first matching rule gives them less time than the block is old.

import { ByteReader } from '../../lib/core/bytes.ts';
import { compileMatcher, type ValuePredicate } from '../../lib/model/matcher.ts';
import type { RetentionRule } from '../../lib/runtime/config/storage-policy.ts';
import { NO_RANGES, type SeriesMask, type TimeRanges } from '../../lib/tsdb/tombstones/deletion.ts';

interface CompiledRule {
  readonly retentionMs: number;
  readonly tests: readonly { readonly name: string; readonly accepts: ValuePredicate }[];
}

const EVERYTHING: TimeRanges = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];

/** Hides whole series. */
export class RetentionMask implements SeriesMask {
  readonly isEmpty = false;
  readonly #rules: readonly CompiledRule[];
  readonly #ageMs: number;

  /**
   * @param ageMs  Of the newest sample that is concerned.
   * @throws AppError `bad_data` when a regular expression is malformed.
   */
  constructor(rules: readonly RetentionRule[], ageMs: number) {
    this.#rules = rules.map(({ retentionMs, matchers }) => ({
      retentionMs,
      tests: matchers.map((matcher) => ({ name: matcher.name, accepts: compileMatcher(matcher) })),
    }));
    this.#ageMs = ageMs;
  }

  rangesOf(bytes: Uint8Array, start: number, end: number): TimeRanges {
    return this.isOver(bytes, start, end) ? EVERYTHING : NO_RANGES;
  }

  /** Whether the series with canonical label bytes in bytes[start, end) is to go. */
  isOver(bytes: Uint8Array, start: number, end: number): boolean {
    const reader = new ByteReader(bytes, start, end);
    const labels = new Map<string, string>();
    while (reader.remaining > 0) labels.set(reader.string(), reader.string());
    const rule = this.#rules.find(({ tests }) =>
      tests.every(({ name, accepts }) => accepts(labels.get(name) ?? '')),
    );
    return rule !== undefined && rule.retentionMs > 0 && this.#ageMs > rule.retentionMs;
  }
}

/** Times of rules that a block of this age has outlived: each new one may concern it. */
export function rulesOutlived(rules: readonly RetentionRule[], ageMs: number): number {
  return rules.filter(({ retentionMs }) => retentionMs > 0 && ageMs > retentionMs).length;
}
