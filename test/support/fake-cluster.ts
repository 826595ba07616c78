// A cluster of ingesters and stores that serve given series from memory through in-process channels: for tests of
// whoever reads. Chunks are real XOR chunks, frames real series frames.
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { AppError, throwIfAborted } from '../../services/lib/core/errors.ts';
import { CHUNK_XOR } from '../../services/lib/model/chunk-sink.ts';
import { encodeLabels, type Labels } from '../../services/lib/model/labels.ts';
import { compileMatcher } from '../../services/lib/model/matcher.ts';
import { putStale, wordsOf } from '../../services/lib/model/sample-columns.ts';
import type { Placement } from '../../services/lib/placement/placement.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { CallContext, Handlers } from '../../services/lib/transport/rpc.ts';
import { encodeXorChunk } from '../../services/lib/tsdb/chunk/xor-encoder.ts';
import {
  type Coverage,
  type HeadStatisticsResponse,
  IngesterDefinition,
  type LabelsRequest,
  type LabelsResponse,
  type MetricMetadata,
  type SelectResponse,
  StoreDefinition,
  type WireMatcher,
  type WireSelectRequest,
} from '../../services/lib/wire/contracts.ts';
import { SeriesFrameWriter } from '../../services/lib/wire/frames/series-frame.ts';
import { fromWireMatchers } from '../../services/lib/wire/matchers.ts';

export interface FakeSeries {
  readonly labels: Labels;
  /** Ascending by time. `stale` is the staleness marker, whose bits no number[] would keep. */
  readonly samples: readonly (readonly [timeMs: number, value: number | 'stale'])[];
}

export interface FakeNode {
  readonly instance: string;
  readonly series: readonly FakeSeries[];
  /** Samples per chunk; default 120. */
  readonly chunkSamples?: number;
  /** Every call fails with it. */
  readonly failure?: AppError;
  /** Select answers so many frames and then fails with `failure`, or hangs without one. */
  readonly framesBeforeTrouble?: number;
  /** Select and labels never end, and do not listen to their signal. */
  readonly hangs?: boolean;
  readonly coverage?: Coverage;
  readonly metadata?: readonly MetricMetadata[];
  readonly head?: HeadStatisticsResponse;
  /** Sent as the only frame. */
  readonly rawFrame?: Uint8Array;
}

export interface FakeClusterOptions {
  readonly ingesters: readonly FakeNode[];
  readonly stores?: readonly FakeNode[];
  readonly placement?: Placement;
  readonly replicationFactor?: number;
}

/** A cluster whose nodes answer as told. `calls` counts the calls that reached a node. */
export function createFakeCluster(options: FakeClusterOptions): Cluster & { readonly calls: string[] } {
  const calls: string[] = [];
  const ingesters = options.ingesters.map((node) => ({
    instance: node.instance,
    client: createInProcessClient(IngesterDefinition, ingesterHandlers(node, calls)),
  }));
  const stores = (options.stores ?? []).map((node) => ({
    instance: node.instance,
    client: createInProcessClient(StoreDefinition, storeHandlers(node, calls)),
  }));
  return {
    calls,
    placement: () => options.placement,
    replicationFactor: options.replicationFactor ?? 1,
    ingesters: () => ingesters,
    stores: () => stores,
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
}

/** Samples every `stepMs` from `startMs`, `count` of them, with values by index. */
export function regularSamples(
  startMs: number,
  stepMs: number,
  count: number,
  value: (index: number) => number,
): [number, number][] {
  return Array.from({ length: count }, (_, i) => [startMs + i * stepMs, value(i)]);
}

function unused(): never {
  throw new AppError('internal', 'this call is not part of the fake');
}

function ingesterHandlers(node: FakeNode, calls: string[]): Handlers<typeof IngesterDefinition> {
  return {
    append: unused,
    seal: unused,
    admitSeries: unused,
    fence: unused,
    deleteSeries: unused,
    undoDelete: unused,
    listDeletes: unused,
    select: (request, context) => select(node, calls, request, context),
    labels: (request) => labels(node, calls, request),
    metadata: async () => {
      fail(node);
      return { metadata: [...(node.metadata ?? [])] };
    },
    headStatistics: async () => {
      fail(node);
      return node.head ?? unused();
    },
  };
}

function storeHandlers(node: FakeNode, calls: string[]): Handlers<typeof StoreDefinition> {
  return {
    putBlock: unused,
    fetchBlock: unused,
    listBlocks: unused,
    deleteSeries: unused,
    undoDelete: unused,
    listDeletes: unused,
    cleanTombstones: unused,
    snapshot: unused,
    select: (request, context) => select(node, calls, request, context),
    labels: (request) => labels(node, calls, request),
  };
}

function fail(node: FakeNode): void {
  if (node.failure !== undefined && node.framesBeforeTrouble === undefined) throw node.failure;
}

async function* select(
  node: FakeNode,
  calls: string[],
  request: WireSelectRequest,
  context: CallContext,
): AsyncGenerator<SelectResponse> {
  calls.push(`${node.instance} select`);
  fail(node);
  if (node.hangs) await new Promise(() => undefined);
  let sent = 0;
  for (const frame of node.rawFrame === undefined ? frames(node, request) : [node.rawFrame]) {
    throwIfAborted(context.signal);
    if (sent++ === node.framesBeforeTrouble) {
      if (node.failure !== undefined) throw node.failure;
      await new Promise(() => undefined);
    }
    yield { frame, coverage: undefined };
  }
  yield { frame: new Uint8Array(0), coverage: node.coverage };
}

/** One frame per series. */
function* frames(node: FakeNode, request: WireSelectRequest): Generator<Uint8Array> {
  for (const { labels: own, samples } of matching(node, request.matchers)) {
    const writer = new SeriesFrameWriter();
    const labelBytes = new ByteWriter();
    encodeLabels(own, labelBytes);
    writer.beginSeries(labelBytes.bytes, 0, labelBytes.length);
    if (!request.labelsOnly) writeChunks(writer, samples, node.chunkSamples ?? 120, request);
    yield* writer.finish();
  }
}

function writeChunks(
  writer: SeriesFrameWriter,
  samples: FakeSeries['samples'],
  chunkSamples: number,
  { minTimeMs, maxTimeMs }: WireSelectRequest,
): void {
  const timestampsMs = Float64Array.from(samples, ([timeMs]) => timeMs);
  const values = Float64Array.from(samples, ([, value]) => (value === 'stale' ? 0 : value));
  const words = wordsOf(values);
  for (const [i, [, value]] of samples.entries()) if (value === 'stale') putStale(words, i);
  for (let from = 0; from < samples.length; from += chunkSamples) {
    const to = Math.min(from + chunkSamples, samples.length);
    const firstMs = timestampsMs[from]!;
    const lastMs = timestampsMs[to - 1]!;
    if (firstMs > maxTimeMs || lastMs < minTimeMs) continue;
    const chunk = new ByteWriter();
    encodeXorChunk(timestampsMs, values, from, to, chunk);
    writer.chunk(CHUNK_XOR, firstMs, lastMs, chunk.bytes, 0, chunk.length);
  }
}

function matching(node: FakeNode, wire: readonly WireMatcher[]): FakeSeries[] {
  const predicates = fromWireMatchers(wire).map((matcher) => ({
    name: matcher.name,
    matches: compileMatcher(matcher),
  }));
  return node.series.filter(({ labels: own }) =>
    predicates.every(({ name, matches }) => matches(own.get(name))),
  );
}

async function labels(node: FakeNode, calls: string[], request: LabelsRequest): Promise<LabelsResponse> {
  calls.push(`${node.instance} labels`);
  fail(node);
  if (node.hangs) await new Promise(() => undefined);
  const found = new Set<string>();
  for (const { labels: own } of matching(node, request.matchers)) {
    for (const [name, value] of own.entries()) {
      if (request.labelName === '') found.add(name);
      else if (request.labelName === name) found.add(value);
    }
  }
  const values = [...found].sort();
  const truncated = request.limit > 0 && values.length > request.limit;
  return {
    values: truncated ? values.slice(0, request.limit) : values,
    truncated,
    ...(node.coverage === undefined ? {} : { coverage: node.coverage }),
  };
}
