// Sorting a collected block: pairs by name and value, then series pair by pair, which is Prometheus' label order.
import { AppError } from '../../core/errors.ts';
import { decodeLabels } from '../../model/labels.ts';
import { compareRanges } from './byte-ranges.ts';
import type { PairTable } from './pair-table.ts';
import type { SeriesCollector } from './series-collector.ts';
import { sortPaced, type WorkPacer } from './work-pacer.ts';

export interface SeriesOrder {
  /** Pair numbers in order of name and value; a pair's rank is its index here. */
  readonly pairOrder: Uint32Array;
  /** Series numbers in Prometheus' label order. */
  readonly seriesOrder: Uint32Array;
}

/**
 * Sorts. Afterwards `collector.seriesPairs` holds ranks instead of pair numbers.
 *
 * @throws AppError `bad_data` when a label set was added twice.
 */
export async function orderSeries(collector: SeriesCollector, pacer: WorkPacer): Promise<SeriesOrder> {
  const pairOrder = await orderPairs(collector, pacer);
  const seriesOrder = countUp(collector.partitions.length);
  const ranks = collector.seriesPairs.array;
  const starts = collector.pairStarts.array;
  const compare = (a: number, b: number) =>
    compareRuns(ranks, starts[a]!, starts[a + 1]!, starts[b]!, starts[b + 1]!);
  await sortPaced(seriesOrder, compare, pacer);
  for (let i = 1; i < seriesOrder.length; i++) {
    if (compare(seriesOrder[i - 1]!, seriesOrder[i]!) === 0)
      throw repeated(collector, pairOrder, seriesOrder[i]!);
    if (i % 4096 === 0 && pacer.spend(512)) await pacer.pause();
  }
  return { pairOrder, seriesOrder };
}

/** As orderSeries, for series that were collected in label order. */
export async function orderSortedSeries(collector: PairedSeries, pacer: WorkPacer): Promise<SeriesOrder> {
  const pairOrder = await orderPairs(collector, pacer);
  return { pairOrder, seriesOrder: countUp(collector.partitions.length) };
}

type PairedSeries = Pick<SeriesCollector, 'pairs' | 'seriesPairs' | 'partitions'>;

async function orderPairs(collector: PairedSeries, pacer: WorkPacer): Promise<Uint32Array> {
  const { pairs } = collector;
  const pairOrder = countUp(pairs.count);
  await sortPaced(pairOrder, (a, b) => comparePairs(pairs, a, b), pacer);
  await replaceByRanks(collector, pairOrder, pacer);
  return pairOrder;
}

function countUp(count: number): Uint32Array {
  const ids = new Uint32Array(count);
  for (let i = 0; i < count; i++) ids[i] = i;
  return ids;
}

async function replaceByRanks(
  collector: PairedSeries,
  pairOrder: Uint32Array,
  pacer: WorkPacer,
): Promise<void> {
  const rankOf = new Uint32Array(pairOrder.length);
  for (let rank = 0; rank < pairOrder.length; rank++) rankOf[pairOrder[rank]!] = rank;
  const { array, length } = collector.seriesPairs;
  for (let at = 0; at < length; ) {
    const stop = Math.min(length, at + 65_536);
    for (; at < stop; at++) array[at] = rankOf[array[at]!]!;
    if (pacer.spend(512)) await pacer.pause();
  }
}

function compareRuns(ranks: Uint32Array, aStart: number, aEnd: number, bStart: number, bEnd: number): number {
  const shared = Math.min(aEnd - aStart, bEnd - bStart);
  for (let i = 0; i < shared; i++) {
    const difference = ranks[aStart + i]! - ranks[bStart + i]!;
    if (difference !== 0) return difference;
  }
  return aEnd - aStart - (bEnd - bStart);
}

function comparePairs(pairs: PairTable, a: number, b: number): number {
  const { bytes } = pairs;
  const aName = nameEndOf(pairs, a);
  const bName = nameEndOf(pairs, b);
  const names = compareRanges(bytes, nameStartOf(pairs, a), aName, bytes, nameStartOf(pairs, b), bName);
  if (names !== 0) return names;
  const aValue = skipVarint(bytes, aName);
  const bValue = skipVarint(bytes, bName);
  return compareRanges(bytes, aValue, pairs.endOf(a), bytes, bValue, pairs.endOf(b));
}

function skipVarint(bytes: Uint8Array, at: number): number {
  let next = at;
  while (bytes[next]! > 127) next++;
  return next + 1;
}

/** Where the name of a pair begins in `pairs.bytes`. */
export function nameStartOf(pairs: PairTable, pair: number): number {
  return skipVarint(pairs.bytes, pairs.startOf(pair));
}

/** Where it ends: the value's length follows. */
export function nameEndOf(pairs: PairTable, pair: number): number {
  const { bytes } = pairs;
  let nameBytes = 0;
  let factor = 1;
  let at = pairs.startOf(pair);
  for (; bytes[at]! > 127; at++, factor *= 128) nameBytes += (bytes[at]! & 127) * factor;
  return at + 1 + nameBytes + bytes[at]! * factor;
}

/** Where the value begins; it ends where the pair does. */
export function valueStartOf(pairs: PairTable, pair: number): number {
  return skipVarint(pairs.bytes, nameEndOf(pairs, pair));
}

function repeated(collector: SeriesCollector, pairOrder: Uint32Array, series: number): AppError {
  const { pairs, seriesPairs, pairStarts } = collector;
  const parts: Uint8Array[] = [];
  for (let i = pairStarts.array[series]!; i < pairStarts.array[series + 1]!; i++) {
    const pair = pairOrder[seriesPairs.array[i]!]!;
    parts.push(pairs.bytes.subarray(pairs.startOf(pair), pairs.endOf(pair)));
  }
  const bytes = Buffer.concat(parts);
  return new AppError(
    'bad_data',
    `series ${decodeLabels(bytes, 0, bytes.length).toString()} was added to the block twice`,
  );
}
