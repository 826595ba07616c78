// Exemplars of the series that selectors find: asked of all nodes, united per series, each exemplar once.
import { ByteWriter } from '../../lib/core/bytes.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { CHUNK_EXEMPLARS } from '../../lib/model/chunk-sink.ts';
import { checkLabelBytes } from '../../lib/model/label-bytes.ts';
import { decodeLabels, type Labels } from '../../lib/model/labels.ts';
import { ReplicaLabels } from '../../lib/model/replica-labels.ts';
import { ExemplarList } from '../../lib/tsdb/chunk/exemplar-list.ts';
import type { AnswerCoverage, SeriesRequest, SeriesResponse } from '../../lib/wire/contracts.ts';
import { readSeriesFrame, SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { MemoryBudget } from '../evaluation/memory-budget.ts';
import type { ClusterSelect } from './cluster-select.ts';
import { coverageMessage, type LookupScope } from './lookups.ts';
import type { FrameSink } from './uniting-queryable.ts';

/** What a series takes here beside its bytes: its place in the map, its list. */
const SERIES_BYTES = 256;
/** What an exemplar takes beside its content: a view and a time. */
const EXEMPLAR_BYTES = 128;

/** Series with exemplars in [minTimeMs, maxTimeMs], in label order. */
export async function* findExemplars(
  request: SeriesRequest,
  cluster: Pick<ClusterSelect, 'fetch'>,
  { fanOut: { signal }, budget, replicaLabels }: LookupScope & { readonly replicaLabels: readonly string[] },
): AsyncGenerator<SeriesResponse> {
  if (request.sets.length === 0) throw new AppError('bad_data', 'no selector given: at least one is needed');
  const { minTimeMs, maxTimeMs } = request;
  const union = new ExemplarUnion(budget, replicaLabels);
  const selects: AnswerCoverage[] = [];
  for (const { matchers } of request.sets) {
    const select = { matchers: fromWireMatchers(matchers), minTimeMs, maxTimeMs };
    const how = { signal, isLabelsOnly: false, wantsExemplars: true };
    selects.push((await cluster.fetch(union, select, how)).coverage());
  }
  yield coverageMessage(selects);
  yield* union.frames(minTimeMs, maxTimeMs);
}

interface SeriesExemplars {
  readonly labels: Labels;
  readonly labelBytes: Uint8Array;
  readonly list: ExemplarList;
}

/** Exemplars by series. Frames are kept: the lists hold views of them. */
class ExemplarUnion implements FrameSink {
  readonly #budget: Pick<MemoryBudget, 'charge'>;
  readonly #series = new Map<string, SeriesExemplars>();
  readonly #replicaLabels: ReplicaLabels;

  constructor(budget: Pick<MemoryBudget, 'charge'>, replicaLabels: readonly string[]) {
    this.#budget = budget;
    this.#replicaLabels = new ReplicaLabels(replicaLabels);
  }

  addFrame(frame: Uint8Array, from: string): void {
    this.#budget.charge(frame.length);
    let current: SeriesExemplars | undefined;
    try {
      readSeriesFrame(frame, {
        beginSeries: (bytes, start, end) => {
          current = this.#seriesOf(this.#withoutReplica(bytes, start, end));
        },
        chunk: (encoding, _minTimeMs, _maxTimeMs, bytes, start, end) => {
          // A node of an earlier version answers with samples.
          if (encoding !== CHUNK_EXEMPLARS) return;
          const before = current!.list.count;
          current!.list.addChunk(bytes, start, end);
          this.#budget.charge((current!.list.count - before) * EXEMPLAR_BYTES);
        },
      });
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code === 'execution') throw error;
      throw new AppError('internal', `malformed answer of ${from}: ${error.message}`, { cause: caught });
    }
  }

  *frames(minTimeMs: number, maxTimeMs: number): Generator<SeriesResponse> {
    const writer = new SeriesFrameWriter();
    const chunk = new ByteWriter(4096);
    const sorted = [...this.#series.values()].sort((a, b) => a.labels.compareTo(b.labels));
    for (const { labelBytes, list } of sorted) {
      list.settle();
      const times = list.timestampsMs;
      let from = 0;
      while (from < times.length && times[from]! < minTimeMs) from++;
      let to = times.length;
      while (to > from && times[to - 1]! > maxTimeMs) to--;
      if (from === to) continue;
      chunk.reset();
      list.encode(from, to, chunk);
      writer.beginSeries(labelBytes, 0, labelBytes.length);
      writer.chunk(CHUNK_EXEMPLARS, times[from]!, times[to - 1]!, chunk.bytes, 0, chunk.length);
      for (const frame of writer.takeFrames()) yield { frame, truncated: false };
    }
    for (const frame of writer.finish()) yield { frame, truncated: false };
  }

  /** What servers of a highly available pair scraped is one series. */
  #withoutReplica(bytes: Uint8Array, start: number, end: number): Uint8Array {
    if (!this.#replicaLabels.isIn(bytes, start, end)) return bytes.subarray(start, end);
    checkLabelBytes(bytes, start, end);
    const stripped = new ByteWriter(end - start);
    this.#replicaLabels.strip(bytes, start, end, stripped);
    return stripped.take();
  }

  #seriesOf(labelBytes: Uint8Array): SeriesExemplars {
    const { buffer, byteOffset, length } = labelBytes;
    const key = Buffer.from(buffer, byteOffset, length).toString('latin1');
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    this.#budget.charge(SERIES_BYTES + key.length);
    const labels = decodeLabels(labelBytes, 0, length);
    const made = { labels, labelBytes, list: new ExemplarList() };
    this.#series.set(key, made);
    return made;
  }
}
