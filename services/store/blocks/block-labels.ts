// Answers Labels: names or values of all blocks that overlap the range, united.
import { compareUtf8 } from '../../lib/model/labels.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import type { LabelsRequest, LabelsResponse } from '../../lib/wire/contracts.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import type { BlockCatalog } from './block-catalog.ts';
import type { BlockResolutions } from './block-resolutions.ts';
import { coverageOf, type Lacking } from './coverage.ts';
import { leaseChosen } from './select-blocks.ts';

/**
 * @throws AppError `bad_data` on malformed matchers, `internal` when a block is corrupt, or the signal's reason.
 */
export async function labelsOfBlocks(
  request: LabelsRequest,
  deps: {
    readonly catalog: BlockCatalog;
    readonly resolutions: BlockResolutions;
    readonly tombstones: Tombstones;
    readonly lacking: (tenant: string) => Lacking;
  },
  signal: AbortSignal,
): Promise<LabelsResponse> {
  const { catalog, tombstones } = deps;
  const matchers = fromWireMatchers(request.matchers);
  const limit = request.limit > 0 ? request.limit : Number.POSITIVE_INFINITY;
  const leases = leaseChosen(deps, request, 0);
  const masks = leases.map(({ meta }) => tombstones.maskOf(meta.tenant, meta.blockId));
  const coverage = coverageOf(
    { minTimeMs: request.minTimeMs, maxTimeMs: request.maxTimeMs, partitions: [] },
    leases.map(({ meta }) => meta),
    catalog.quarantinedOf(request.tenant),
    deps.lacking(request.tenant),
  );
  const pacer = new WorkPacer(signal);
  let united: readonly string[] = [];
  try {
    for (const [i, lease] of leases.entries()) {
      try {
        const reader = await lease.reader();
        const mask = masks[i];
        const selection = mask === undefined ? { matchers, signal } : { matchers, signal, mask };
        // One more than the limit from each block is enough to know the first `limit`, and that there are more.
        const own =
          request.labelName === ''
            ? await reader.labelNames(selection)
            : await reader.labelValues(request.labelName, { ...selection, limit: limit + 1 });
        united = await uniteSorted(united, own, pacer);
      } catch (caught) {
        throw await lease.examine(caught);
      }
    }
  } finally {
    for (const lease of leases) await lease.release();
  }
  return { values: united.slice(0, limit), truncated: united.length > limit, coverage };
}

/** Strings united between two looks at the pacer. */
const STRINGS_PER_STEP = 2048;

/** Two ascending lists as one, each string once. Pauses as the pacer says. */
export async function uniteSorted(
  a: readonly string[],
  b: readonly string[],
  pacer: WorkPacer,
): Promise<readonly string[]> {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const out: string[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    for (const stop = out.length + STRINGS_PER_STEP; out.length < stop && (i < a.length || j < b.length); ) {
      const order = orderAt(a, i, b, j);
      out.push(order <= 0 ? a[i]! : b[j]!);
      if (order <= 0) i++;
      if (order >= 0) j++;
    }
    if (pacer.spend(STRINGS_PER_STEP / 4)) await pacer.pause();
  }
  return out;
}

/** As compareUtf8; a list that is used up comes last. */
function orderAt(a: readonly string[], i: number, b: readonly string[], j: number): number {
  if (i === a.length) return 1;
  if (j === b.length) return -1;
  return a[i] === b[j] ? 0 : compareUtf8(a[i]!, b[j]!);
}
