// The cluster as PromQL sees it: a select goes to every ingester and store, and what comes back is united.
import { throwIfAborted } from '../lib/core/errors.ts';
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../lib/model/queryable.ts';
import type { CallContext } from '../lib/transport/rpc.ts';
import { WorkPacer } from '../lib/tsdb/block/work-pacer.ts';
import type { Coverage, WireSelectRequest } from '../lib/wire/contracts.ts';
import { toWireMatchers } from '../lib/wire/matchers.ts';
import { type FanOutOptions, fanOut, type Source } from './fan-out.ts';
import { SeriesUnion, type UnionLimits } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';

/** Frame bytes per unit of the pacer: a frame of 1 MiB is unpacked in some milliseconds. */
const BYTES_PER_UNIT = 128;

export interface ClusterQueryableOptions extends Omit<FanOutOptions, 'signal'> {
  readonly tenant: string;
  readonly limits: UnionLimits;
}

export class ClusterQueryable implements Queryable {
  readonly #options: ClusterQueryableOptions;

  constructor(options: ClusterQueryableOptions) {
    this.#options = options;
  }

  async select(request: SelectRequest, context: QueryContext): Promise<SeriesSet> {
    const union = new SeriesUnion(this.#options.limits, {
      charge: (bytes) => context.chargeBytes(bytes),
    });
    try {
      const gaps = await this.fetch(union, request, { signal: context.signal, isLabelsOnly: false });
      await union.sort(new WorkPacer(context.signal));
      return new UnitedSeriesSet(union, gaps);
    } catch (caught) {
      union.release();
      throw caught;
    }
  }

  /**
   * Adds to `union` what all nodes hold of a selector.
   *
   * @returns What is missing, when that is allowed.
   */
  fetch(
    union: SeriesUnion,
    request: SelectRequest,
    how: { readonly signal: AbortSignal; readonly isLabelsOnly: boolean },
  ): Promise<string[]> {
    const wire: WireSelectRequest = {
      tenant: this.#options.tenant,
      matchers: toWireMatchers(request.matchers),
      minTimeMs: request.minTimeMs,
      maxTimeMs: request.maxTimeMs,
      labelsOnly: how.isLabelsOnly,
      partitions: [],
      seriesMax: this.#options.limits.seriesMax,
    };
    const pacer = new WorkPacer(how.signal);
    return fanOut({ ...this.#options, signal: how.signal }, (source, context) =>
      fetchFrom(source, wire, context, union, pacer),
    );
  }
}

async function fetchFrom(
  source: Source,
  request: WireSelectRequest,
  context: CallContext,
  union: SeriesUnion,
  pacer: WorkPacer,
): Promise<Coverage | undefined> {
  const name = `${source.kind} ${source.instance}`;
  let coverage: Coverage | undefined;
  // Each call has its own copy: in this process messages pass by reference.
  for await (const message of source.client.select({ ...request }, context)) {
    // The union may be in use already when the others' answers were enough.
    throwIfAborted(context.signal);
    if (message.frame.length > 0) union.addFrame(message.frame, name);
    coverage = message.coverage ?? coverage;
    if (pacer.spend(message.frame.length / BYTES_PER_UNIT)) await pacer.pause();
  }
  return coverage;
}
