// Samples of a selector as they are stored, staleness markers and native histograms included: what remote read and export want.
// No PromQL is evaluated, so no thread is taken; work goes in turns.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import type { SeriesRequest, SeriesResponse } from '../../lib/wire/contracts.ts';
import { ResultFrameWriter } from '../../lib/wire/frames/result-frame.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { ClusterSelect } from './cluster-select.ts';
import type { LookupScope } from './lookups.ts';
import { SeriesUnion, type UnionLimits } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';

/** Work between two turns of the event loop, milliseconds. */
const TURN_MS = 10;

/**
 * Series of the one selector in label order, as result frames; a series without samples in the range is left out.
 *
 * @throws AppError `execution` over a limit of series or memory, `unavailable` when something cannot be reached.
 */
export async function* readSamples(
  request: SeriesRequest,
  cluster: Pick<ClusterSelect, 'fetch'>,
  limits: UnionLimits,
  { fanOut: { signal }, budget }: LookupScope,
): AsyncGenerator<SeriesResponse> {
  const [selector, ...more] = request.sets;
  if (selector === undefined || more.length > 0)
    throw new AppError('bad_data', 'samples are read by exactly one selector');
  const { minTimeMs, maxTimeMs } = request;
  const union = new SeriesUnion({ ...limits, replicaLabels: [] }, budget);
  const set = new UnitedSeriesSet(union, []);
  try {
    const select = { matchers: fromWireMatchers(selector.matchers), minTimeMs, maxTimeMs };
    await cluster.fetch(union, select, { signal, isLabelsOnly: false });
    await union.sort(new WorkPacer(signal));
    const writer = new ResultFrameWriter();
    const columns = new SampleColumns();
    let turnMs = performance.now();
    for (let i = 0; i < set.size; i++) {
      set.read(i, minTimeMs, maxTimeMs, columns);
      const { timestampsMs, values, count, histograms } = columns;
      const frame =
        count === 0 ? undefined : writer.add(set.labels(i), timestampsMs, values, count, histograms);
      if (frame !== undefined) yield { frame, truncated: false };
      if (performance.now() - turnMs < TURN_MS) continue;
      await nextTurn();
      throwIfAborted(signal);
      turnMs = performance.now();
    }
    const last = writer.finish();
    if (last !== undefined) yield { frame: last, truncated: false };
  } finally {
    set.release();
  }
}
