// An ingester for tests of writers: takes appends as the contract says, decodes each batch, remembers what it was given, and
// fails on command. It keeps samples in memory: tests of durability use the real one.
import { AppError } from '../../services/lib/core/errors.ts';
import { decodeLabels } from '../../services/lib/model/labels.ts';
import { computePlacement, type Placement } from '../../services/lib/placement/placement.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Client, Handlers } from '../../services/lib/transport/rpc.ts';
import { visitDefinitions } from '../../services/lib/wire/append/append-batch.ts';
import { BatchScratch } from '../../services/lib/wire/append/batch-scratch.ts';
import { decodeBatch } from '../../services/lib/wire/append/packed-batch.ts';
import {
  type AdmitSeriesRequest,
  type AdmitSeriesResponse,
  AppendOutcome,
  type AppendRequest,
  type AppendResponse,
  IngesterDefinition,
  type MetricMetadata,
} from '../../services/lib/wire/contracts.ts';

export interface RecordedSample {
  readonly series: string;
  readonly partition: number;
  readonly timestampMs: number;
  readonly value: number;
  /** The value's bits. */
  readonly high: number;
  readonly low: number;
}

/** What the next requests meet. `hang` never answers, `die` ends the stream with an error. */
export type Behaviour = 'keep' | 'refuse' | 'partial' | 'hang' | 'die' | 'fence';

export interface RecordingIngester {
  readonly instance: string;
  readonly client: Client<typeof IngesterDefinition>;
  /** Samples of the requests that were kept. */
  readonly samples: RecordedSample[];
  readonly metadata: MetricMetadata[];
  readonly requests: AppendRequest[];
  /** Definitions received, by stream. */
  readonly definitions: number[];
  /** Writer ids, one for each stream that was opened. */
  readonly writers: string[];
  /** Whether writers are told that it is another process; before the first write. */
  isRemote: boolean;
  behaviour: Behaviour;
  /** With `partial`: the partitions that are not kept. */
  failedPartitions: number[];
  /** Series that it admits when it is asked; 0: all. */
  seriesMax: number;
  /** Series that it admitted. */
  readonly admitted: Set<string>;
  /** How many series each question was about. */
  readonly questions: number[];
  /** What becomes of questions for room. */
  admission: 'answer' | 'hang' | 'unknown';
  /** Each request waits for it before it is dealt with. */
  gate: Promise<void>;
}

/** Makes one. */
export function createRecordingIngester(instance: string): RecordingIngester {
  const recorded = {
    instance,
    samples: [] as RecordedSample[],
    metadata: [] as MetricMetadata[],
    requests: [] as AppendRequest[],
    definitions: [] as number[],
    writers: [] as string[],
    isRemote: false,
    behaviour: 'keep' as Behaviour,
    failedPartitions: [] as number[],
    seriesMax: 0,
    admitted: new Set<string>(),
    questions: [] as number[],
    admission: 'answer' as RecordingIngester['admission'],
    gate: Promise.resolve(),
  };
  const handlers = {
    admitSeries: (request: AdmitSeriesRequest) => admit(request, recorded),
    append: (requests: AsyncIterable<AppendRequest>) => serve(requests, recorded),
  } as Partial<Handlers<typeof IngesterDefinition>> as Handlers<typeof IngesterDefinition>;
  return Object.assign(recorded, { client: createInProcessClient(IngesterDefinition, handlers) });
}

type Recorded = Omit<RecordingIngester, 'client'>;

async function* serve(
  requests: AsyncIterable<AppendRequest>,
  recorded: Recorded,
): AsyncGenerator<AppendResponse> {
  const series = new Map<number, { labels: string; partition: number }>();
  const stream = recorded.definitions.push(0) - 1;
  let sequence = 0;
  for await (const request of requests) {
    if (sequence === 0) recorded.writers.push(request.writerId);
    if (request.sequence !== ++sequence) {
      throw new AppError('failed_precondition', `sequence ${request.sequence} after ${sequence - 1}`);
    }
    recorded.requests.push(request);
    await recorded.gate;
    if (recorded.behaviour === 'die') throw new AppError('unavailable', 'told to die');
    if (recorded.behaviour === 'hang') await new Promise(() => {});
    if (recorded.behaviour === 'fence') {
      yield answer(request, AppendOutcome.APPEND_OUTCOME_FENCED, [], 'another one has the lease');
      continue;
    }
    if (recorded.behaviour === 'refuse') {
      yield answer(request, AppendOutcome.APPEND_OUTCOME_UNAVAILABLE, [], 'told to refuse');
      continue;
    }
    const failed = recorded.behaviour === 'partial' ? recorded.failedPartitions : [];
    keep(request, recorded, series, stream, new Set(failed));
    const outcome =
      failed.length > 0 ? AppendOutcome.APPEND_OUTCOME_PARTIAL : AppendOutcome.APPEND_OUTCOME_DURABLE;
    yield answer(request, outcome, failed, failed.length > 0 ? 'told to keep a part' : '');
  }
}

async function admit(request: AdmitSeriesRequest, recorded: Recorded): Promise<AdmitSeriesResponse> {
  recorded.questions.push(request.count);
  if (recorded.admission === 'hang') await new Promise(() => {});
  if (recorded.admission === 'unknown')
    throw new AppError('internal', 'The server does not implement the method');
  const { admitted, seriesMax } = recorded;
  const refused: number[] = [];
  visitDefinitions(request.definitions, 0, request.count, (reference, _, bytes, start, end) => {
    const labels = decodeLabels(bytes, start, end).toString();
    if (seriesMax === 0 || admitted.size < seriesMax - request.taken || admitted.has(labels))
      admitted.add(labels);
    else refused.push(reference);
  });
  return { refused, series: admitted.size, limit: seriesMax };
}

function answer(
  request: AppendRequest,
  outcome: AppendOutcome,
  failedPartitions: number[],
  message: string,
): AppendResponse {
  return { sequence: request.sequence, outcome, failedPartitions, message };
}

function keep(
  request: AppendRequest,
  recorded: Recorded,
  series: Map<number, { labels: string; partition: number }>,
  stream: number,
  failed: ReadonlySet<number>,
): void {
  recorded.metadata.push(...request.metadata);
  if (request.batch.length === 0) return;
  const batch = decodeBatch(request.batch, new BatchScratch());
  batch.forEachDefinition((reference, partition, bytes, start, end) => {
    recorded.definitions[stream]!++;
    series.set(reference, { labels: decodeLabels(bytes, start, end).toString(), partition });
  });
  const words = new DataView(batch.values.buffer, batch.values.byteOffset, batch.values.byteLength);
  let sample = 0;
  batch.sectionPartitions.forEach((partition, section) => {
    for (let i = 0; i < batch.sectionSamples[section]!; i++, sample++) {
      const defined = series.get(batch.references[sample]!);
      if (defined === undefined) {
        throw new AppError('failed_precondition', `reference ${batch.references[sample]} is not defined`);
      }
      if (defined.partition !== partition) {
        throw new AppError('bad_data', `${defined.labels} of partition ${defined.partition} in ${partition}`);
      }
      if (failed.has(partition)) continue;
      recorded.samples.push({
        series: defined.labels,
        partition,
        timestampMs: batch.timestampsMs[sample]!,
        value: batch.values[sample]!,
        low: words.getUint32(sample * 8, true),
        high: words.getUint32(sample * 8 + 4, true),
      });
    }
  });
}

/** A cluster of these ingesters; `live` may change while it is used. */
export function clusterOf(
  ingesters: readonly RecordingIngester[],
  options: { readonly replicationFactor: number; readonly partitionCount?: number },
): Cluster & { live: RecordingIngester[]; placed: Placement | undefined } {
  const members = ingesters.map(({ instance }) => ({ instance, zone: '' }));
  return {
    live: [...ingesters],
    placed: computePlacement(members, {
      epoch: 1,
      partitionCount: options.partitionCount ?? 8,
      replicationFactor: options.replicationFactor,
    }),
    placement() {
      return this.placed;
    },
    replicationFactor: options.replicationFactor,
    ingesters() {
      return this.live;
    },
    stores: () => [],
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
}
