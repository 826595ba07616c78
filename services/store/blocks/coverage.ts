// What an answer of the store accounts for. A store holds what was sealed and shipped to it; it can say that this is whole
// unless it had to set a block aside. Samples that are not sealed yet are the ingesters' to account for.
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { Coverage, PartitionCoverage } from '../../lib/wire/contracts.ts';
import type { QuarantinedBlock } from './block-catalog.ts';

export interface CoverageQuestion {
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Empty: all that the blocks hold. */
  readonly partitions: readonly number[];
}

/** A block of which some chunks could not be had. */
export interface UnreachableBlock {
  readonly meta: BlockMeta;
  /** For people. */
  readonly why: string;
}

/** What a store is to have, and has not. */
export interface Lacking {
  /** Blocks that are nowhere but in object storage, and on their way. */
  readonly awaited: readonly BlockMeta[];
  /** Why more may be missing of which nothing is known here; undefined where nothing is. */
  readonly unknown: string | undefined;
}

const NOTHING_LACKING: Lacking = { awaited: [], unknown: undefined };

/** Blocks named in `missing` at most. */
const NAMED_MAX = 3;

/**
 * One range per partition that was asked for and is held, from the oldest to the newest sample of the blocks that were
 * read; `complete` is false where a block of that partition and range is in quarantine, and `missing` names the block.
 *
 * @param lacking      As good as in quarantine.
 * @param unreachable  Of the blocks that were read: those whose chunks are in object storage and could not be had, or not all.
 */
export function coverageOf(
  question: CoverageQuestion,
  read: readonly BlockMeta[],
  missing: readonly QuarantinedBlock[],
  { awaited, unknown }: Lacking = NOTHING_LACKING,
  unreachable: readonly UnreachableBlock[] = [],
): Coverage {
  const asked = question.partitions.length > 0 ? new Set(question.partitions) : undefined;
  const byPartition = new Map<number, PartitionCoverage>();
  const cover = (partition: number, minTimeMs: number, maxTimeMs: number, complete: boolean) => {
    if (asked !== undefined && !asked.has(partition)) return;
    const from = Math.max(minTimeMs, question.minTimeMs);
    const to = Math.min(maxTimeMs, question.maxTimeMs);
    const known = byPartition.get(partition);
    if (known === undefined) {
      byPartition.set(partition, { partition, minTimeMs: from, maxTimeMs: to, complete });
      return;
    }
    known.minTimeMs = Math.min(known.minTimeMs, from);
    known.maxTimeMs = Math.max(known.maxTimeMs, to);
    known.complete &&= complete;
  };
  for (const meta of read) {
    for (const partition of meta.partitions) cover(partition, meta.minTimeMs, meta.maxTimeMs, true);
  }
  const lost = missing.filter(({ meta }) => concerns(meta, question, asked));
  for (const { meta } of lost) {
    const { minTimeMs, maxTimeMs } = meta ?? question;
    // Of a block without a readable meta.json nothing is known: it may be missing anywhere.
    const partitions = meta?.partitions ?? (asked === undefined ? [...byPartition.keys()] : [...asked]);
    for (const partition of partitions) cover(partition, minTimeMs, maxTimeMs, false);
  }
  const late = awaited.filter((meta) => concerns(meta, question, asked));
  for (const { minTimeMs, maxTimeMs, partitions } of late) {
    for (const partition of partitions) cover(partition, minTimeMs, maxTimeMs, false);
  }
  if (unknown !== undefined) {
    const anywhere = asked ?? [...byPartition.keys()];
    for (const partition of anywhere) cover(partition, question.minTimeMs, question.maxTimeMs, false);
  }
  for (const { meta } of unreachable) {
    for (const partition of meta.partitions) cover(partition, meta.minTimeMs, meta.maxTimeMs, false);
  }
  const partitions = [...byPartition.values()].sort((a, b) => a.partition - b.partition);
  const reasons = [
    ...(unknown === undefined ? [] : [unknown]),
    ...describe(lost, 'corrupt ', 'in quarantine'),
    ...describe(late.map(asMissing), '', 'still being fetched from object storage'),
    ...describe(
      unreachable.map(({ meta }) => asMissing(meta)),
      '',
      `in object storage only, which does not give them (${unreachable[0]?.why ?? ''})`,
    ),
  ];
  return reasons.length === 0 ? { partitions } : { partitions, missing: reasons.join('; ') };
}

function concerns(
  meta: BlockMeta | undefined,
  { minTimeMs, maxTimeMs }: CoverageQuestion,
  asked: ReadonlySet<number> | undefined,
): boolean {
  if (meta === undefined) return true;
  if (meta.minTimeMs > maxTimeMs || meta.maxTimeMs < minTimeMs) return false;
  return asked === undefined || meta.partitions.some((partition) => asked.has(partition));
}

const asMissing = (meta: BlockMeta): QuarantinedBlock => ({
  tenant: meta.tenant,
  blockId: meta.blockId,
  meta,
});

function describe(lost: readonly QuarantinedBlock[], what: string, where: string): string[] {
  if (lost.length === 0) return [];
  const named = lost.slice(0, NAMED_MAX).map(({ blockId, meta }) => {
    if (meta === undefined) return `${blockId} (range unknown)`;
    return `${blockId} (${printTime(meta.minTimeMs)} to ${printTime(meta.maxTimeMs)})`;
  });
  const more = lost.length > NAMED_MAX ? ` and ${lost.length - NAMED_MAX} more` : '';
  const noun = lost.length === 1 ? 'block is' : 'blocks are';
  return [`${lost.length} ${what}${noun} ${where}: ${named.join(', ')}${more}`];
}

/** Times beyond the calendar's reach stay numbers. */
function printTime(timeMs: number): string {
  return Math.abs(timeMs) <= 8.64e15 ? new Date(timeMs).toISOString() : `${timeMs} ms`;
}
