// Exact statistics of a head for /api/v1/status/tsdb: what takes how many series, values and bytes.
import { METRIC_NAME } from '../../model/labels.ts';
import { xorStateBytes } from '../chunk/xor-appender.ts';
import { xorFirstTimeMs } from '../chunk/xor-decoder.ts';
import { NO_SLOT, slotOffsetOf, slotPageOf } from './chunk-slots.ts';
import { ABSENT } from './columns.ts';
import type { Head } from './head.ts';
import { PAGE_MASK, PAGE_SHIFT, SLOT, STATE_WORDS } from './series-states.ts';

export interface TopEntry {
  readonly name: string;
  readonly value: number;
}

export interface HeadStatistics {
  readonly series: number;
  readonly labelPairs: number;
  readonly chunks: number;
  /** Unix ms; both 0 when the head is empty. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Most first, ties by name. */
  readonly seriesByMetric: readonly TopEntry[];
  readonly valuesByLabel: readonly TopEntry[];
  readonly valueBytesByLabel: readonly TopEntry[];
  readonly seriesByPair: readonly TopEntry[];
}

/**
 * Counts the head.
 *
 * Cost: a look at every series, chunk and label pair: tens of milliseconds for a million series.
 */
export function headStatistics(head: Head, limit: number): HeadStatistics {
  const { index } = head;
  const names = [...index.pairs.names()];
  const { minTimeMs, maxTimeMs } = timeBoundsOf(head);
  const metrics: number[] = [];
  const last = index.pairs.nameEntry(METRIC_NAME)?.lastPair ?? ABSENT;
  for (let pair = last; pair !== ABSENT; pair = index.pairs.previousOf(pair)) metrics.push(pair);
  const all = Uint32Array.from({ length: index.pairs.count }, (_, pair) => pair);
  return {
    series: head.seriesCount,
    labelPairs: index.pairs.count,
    chunks: head.chunkCount,
    minTimeMs,
    maxTimeMs,
    seriesByMetric: topPairs(head, metrics, limit, (pair) => index.pairs.value(pair)),
    valuesByLabel: top(
      names.map(({ name, valueCount }) => ({ name, value: valueCount })),
      limit,
    ),
    valueBytesByLabel: top(
      names.map(({ name, valueBytes }) => ({ name, value: valueBytes })),
      limit,
    ),
    seriesByPair: topPairs(
      head,
      all,
      limit,
      (pair) => `${index.pairs.name(pair)}=${index.pairs.value(pair)}`,
    ),
  };
}

function top(entries: TopEntry[], limit: number): TopEntry[] {
  return entries.sort((a, b) => b.value - a.value || (a.name < b.name ? -1 : 1)).slice(0, limit);
}

/** Names are made for those that can be among the first only. */
function topPairs(
  head: Head,
  pairs: ArrayLike<number>,
  limit: number,
  nameOf: (pair: number) => string,
): TopEntry[] {
  const { index } = head;
  const counts = Uint32Array.from(pairs, (pair) => index.countOf(pair)).sort();
  const least = counts.length > limit ? counts[counts.length - limit]! : 1;
  const entries: TopEntry[] = [];
  for (let i = 0; i < pairs.length; i++) {
    const value = index.countOf(pairs[i]!);
    if (value >= Math.max(1, least)) entries.push({ name: nameOf(pairs[i]!), value });
  }
  return top(entries, limit);
}

function timeBoundsOf(head: Head): { minTimeMs: number; maxTimeMs: number } {
  let minTimeMs = Number.POSITIVE_INFINITY;
  let maxTimeMs = Number.NEGATIVE_INFINITY;
  for (const range of head.ranges()) {
    const bounds = range.timeBounds();
    if (bounds === undefined) continue;
    minTimeMs = Math.min(minTimeMs, bounds.minTimeMs);
    maxTimeMs = Math.max(maxTimeMs, bounds.maxTimeMs);
  }
  const { states, slots } = head;
  for (let id = 0; id < head.idEnd; id++) {
    const words = states.words[id >>> PAGE_SHIFT];
    const base = (id & PAGE_MASK) * STATE_WORDS;
    const slot = words?.[base + SLOT] ?? NO_SLOT;
    if (words === undefined || slot === NO_SLOT) continue;
    const start = slotOffsetOf(slot);
    const firstMs = xorFirstTimeMs(slots.pages[slotPageOf(slot)]!, start, start + xorStateBytes(words, base));
    minTimeMs = Math.min(minTimeMs, firstMs);
    maxTimeMs = Math.max(maxTimeMs, states.lastMs(id));
  }
  return maxTimeMs < minTimeMs ? { minTimeMs: 0, maxTimeMs: 0 } : { minTimeMs, maxTimeMs };
}
