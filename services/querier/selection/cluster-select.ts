// The cluster as a source of series frames: a select goes to every ingester and store.
import { throwIfAborted } from '../../lib/core/errors.ts';
import type { RunHold, SeriesRun } from '../../lib/model/series-run.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import type { Coverage, WireSelectRequest } from '../../lib/wire/contracts.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import { type FannedOut, type FanOutOptions, fanOut, nameOf, type Source } from './fan-out.ts';
import type { FrameRequest, FrameSink } from './uniting-queryable.ts';

/** Frame bytes per unit of the pacer: a frame of 1 MiB is unpacked in some milliseconds. */
const BYTES_PER_UNIT = 128;

export interface ClusterSelectOptions extends Omit<FanOutOptions, 'signal' | 'range'> {
  readonly tenant: string;
  /** Series that a node may answer with. */
  readonly seriesMax: number;
}

/** Asks the cluster for series. */
export class ClusterSelect {
  readonly #options: ClusterSelectOptions;

  constructor(options: ClusterSelectOptions) {
    this.#options = options;
  }

  /**
   * Gives `sink` what all nodes hold of a selector.
   *
   * @throws AppError as fanOut.
   */
  fetch(
    sink: FrameSink,
    request: FrameRequest,
    how: {
      readonly signal: AbortSignal;
      readonly isLabelsOnly: boolean;
      /** Exemplars instead of samples. */
      readonly wantsExemplars?: boolean;
    },
  ): Promise<FannedOut> {
    const wire: WireSelectRequest = {
      tenant: this.#options.tenant,
      matchers: toWireMatchers(request.matchers),
      minTimeMs: request.minTimeMs,
      maxTimeMs: request.maxTimeMs,
      labelsOnly: how.isLabelsOnly,
      partitions: [...(request.partitions ?? [])],
      seriesMax: this.#options.seriesMax,
      ...(request.alignMs === undefined ? {} : { alignMs: request.alignMs }),
      ...(how.wantsExemplars === true ? { exemplars: true } : {}),
    };
    const pacer = new WorkPacer(how.signal);
    const { minTimeMs, maxTimeMs } = request;
    const range = { minTimeMs, maxTimeMs };
    return fanOut({ ...this.#options, range, signal: how.signal }, (source, context) =>
      fetchFrom(source, wire, context, sink, pacer),
    );
  }
}

async function fetchFrom(
  source: Source,
  request: WireSelectRequest,
  context: CallContext,
  sink: FrameSink,
  pacer: WorkPacer,
): Promise<Coverage | undefined> {
  const name = nameOf(source);
  let coverage: Coverage | undefined;
  const takeRun = (run: SeriesRun, hold: RunHold): void => {
    throwIfAborted(context.signal);
    sink.addRun!(run, name, hold);
  };
  const call = sink.addRun === undefined ? context : { ...context, takeRun };
  // Each call has its own copy: in this process messages pass by reference.
  for await (const message of source.client.select({ ...request }, call)) {
    // What was given may be in use already when the others' answers were enough.
    throwIfAborted(context.signal);
    const bytes = message.frame.length;
    if (bytes > 0) sink.addFrame(message.frame, name);
    coverage = message.coverage ?? coverage;
    if (pacer.spend(bytes / BYTES_PER_UNIT)) await pacer.pause();
  }
  return coverage;
}
