// POST /api/v1/read: Prometheus' remote read. A query's series come from a querier as they are stored, and leave as whole samples or,
// where the client takes them, as a stream of chunks, one frame at a time. As in Prometheus, external labels stand in the answer, and
// a matcher that asks for one of them finds series without it.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { compileMatcher, type Matcher } from '../../lib/model/matcher.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import {
  decompressSnappy,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../../lib/wire/compression/snappy.ts';
import { compressSnappy } from '../../lib/wire/compression/snappy-compress.ts';
import { readResultFrame } from '../../lib/wire/frames/result-frame.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import {
  READ_SAMPLES,
  READ_STREAMED_XOR_CHUNKS,
  type ReadQuery,
  type ReadRequest,
  readReadRequest,
} from '../../lib/wire/remote-read/remote-read-request.ts';
import {
  putMessage,
  type ReadColumns,
  type ReadLabels,
  ReadResponseWriter,
} from '../../lib/wire/remote-read/remote-read-response.ts';
import type { GatewayHost } from '../host.ts';
import { statusOf } from '../http/api-error.ts';
import { type Exchange, sendText } from '../http/exchange.ts';
import type { Route } from '../http/route.ts';
import { untilRead } from '../http/slow-readers.ts';
import {
  BodyTooLargeError,
  BudgetShare,
  MemoryBudget,
  readBody,
  watchSignal,
} from '../remote-write/remote-write-body.ts';
import { type QuerierChoice, withDeadline } from './calls.ts';

/** Of a request: a selector of hundreds of matchers. */
const REQUEST_BYTES_MAX = 1 << 20;
/** Prometheus' --storage.remote.read-sample-limit, for answers that are held as a whole. */
const SAMPLES_MAX = 50_000_000;
/** Of such an answer before it is compressed: it and its compressed form are in memory together. */
const ANSWER_BYTES_MAX = 256 << 20;
/** Prometheus' --storage.remote.read-max-bytes-in-frame. */
const FRAME_BYTES_MAX = 1 << 20;
/** Prometheus' --storage.remote.read-concurrent-limit; the rest waits its turn. */
const CONCURRENT_MAX = 10;
const WAITING_MAX = 100;

export interface RemoteReadDeps {
  readonly queriers: QuerierChoice;
  readonly clock: Clock;
  readonly host: GatewayHost;
  readonly registry: Registry;
}

type ReadMetrics = ReturnType<typeof createMetrics>;

export function remoteReadRoute(options: { readonly queryTimeoutMs: number }, deps: RemoteReadDeps): Route {
  const turns = new Turns();
  const budget = new MemoryBudget(CONCURRENT_MAX * REQUEST_BYTES_MAX * 2);
  const metrics = createMetrics(deps.registry, turns);
  return {
    template: '/api/v1/read',
    methods: ['POST'],
    kind: 'api',
    ownsBody: true,
    handle: async (exchange) => {
      const startedMs = deps.clock.monotonicMs();
      const share = new BudgetShare(budget);
      let result = 'ok';
      try {
        await turns.enter(exchange.signal);
        try {
          const onTimeout = () => new AppError('timeout', `no answer within ${options.queryTimeoutMs} ms`);
          await withDeadline(deps.clock, options.queryTimeoutMs, exchange.signal, onTimeout, (context) =>
            answer(exchange, share, deps, metrics, context),
          );
        } finally {
          turns.leave();
        }
      } catch (caught) {
        result = caught instanceof BodyTooLargeError ? 'bad_data' : toAppError(caught).code;
        await refuse(exchange, caught);
      } finally {
        share.releaseAll();
        metrics.requests.inc({ result });
        metrics.seconds.observe((deps.clock.monotonicMs() - startedMs) / 1000);
      }
    },
  };
}

/** Readers show the text. An answer that has begun can only be cut off, which its reader sees at the frame. */
async function refuse(exchange: Exchange, caught: unknown): Promise<void> {
  if (exchange.response.headersSent) {
    exchange.response.destroy();
    return;
  }
  if (caught instanceof BodyTooLargeError) {
    await sendText(exchange, 413, `${caught.message}\n`);
    return;
  }
  const error = toAppError(caught);
  if (error.code === 'canceled') throw error;
  await sendText(exchange, statusOf(error), `${error.message}\n`);
}

async function answer(
  exchange: Exchange,
  share: BudgetShare,
  deps: RemoteReadDeps,
  metrics: ReadMetrics,
  context: CallContext,
): Promise<void> {
  const request = await readRequest(exchange, share, context.signal);
  // Ours: an export wants series as they are stored. (Parameters are not read where the body is the handler's.)
  const { searchParams } = new URL(exchange.request.url ?? '', 'http://localhost');
  const isPlain = searchParams.get('external_labels') === 'false';
  const labels = isPlain ? [] : [...(deps.host.externalLabels?.() ?? [])];
  const external = labels.sort(([a], [b]) => (a < b ? -1 : 1));
  const isStreamed = negotiate(request) === READ_STREAMED_XOR_CHUNKS;
  const reading: Reading = { request, external, queriers: deps.queriers, metrics, context };
  if (isStreamed) await streamChunks(exchange, reading);
  else await sendSamples(exchange, reading);
}

async function readRequest(
  exchange: Exchange,
  share: BudgetShare,
  signal: AbortSignal,
): Promise<ReadRequest> {
  const chunks = await readBody(exchange.request, REQUEST_BYTES_MAX, share, watchSignal(signal));
  const body = Buffer.concat(chunks);
  const bytes = snappyDecodedBytes(body);
  if (bytes > REQUEST_BYTES_MAX)
    throw new AppError('bad_data', `the request has ${bytes} bytes, more than ${REQUEST_BYTES_MAX}`);
  const decoded = new Uint8Array(bytes + SNAPPY_SLACK_BYTES);
  const request = readReadRequest(decoded, decompressSnappy(body, decoded));
  for (const { matchers } of request.queries) {
    if (matchers.length === 0) throw new AppError('bad_data', 'a query without matchers');
    for (const matcher of matchers) compileMatcher(matcher);
  }
  return request;
}

/** The first type that is known; whoever names none gets samples. */
function negotiate({ responseTypes }: ReadRequest): number {
  if (responseTypes.length === 0) return READ_SAMPLES;
  const found = responseTypes.find((type) => type === READ_SAMPLES || type === READ_STREAMED_XOR_CHUNKS);
  if (found === undefined)
    throw new AppError(
      'bad_data',
      `none of the accepted response types ${responseTypes.join(', ')} is known`,
    );
  return found;
}

interface Reading {
  readonly request: ReadRequest;
  readonly external: readonly (readonly [string, string])[];
  readonly queriers: QuerierChoice;
  readonly metrics: ReadMetrics;
  readonly context: CallContext;
}

type OnSeries = (labels: ReadLabels, samples: ReadColumns) => void;

/** Reads the series of a query; `onFrame` after each frame of them, so that what was made of it can leave. */
async function readSeries(
  query: ReadQuery,
  { external, queriers, metrics, context }: Reading,
  onSeries: OnSeries,
  onFrame: () => Promise<void>,
): Promise<void> {
  const { minTimeMs, maxTimeMs } = query;
  const matchers = query.matchers.map((matcher) => withoutExternal(matcher, external));
  const request = {
    tenant: DEFAULT_TENANT,
    sets: [{ matchers: toWireMatchers(matchers) }],
    minTimeMs,
    maxTimeMs,
    limit: 0,
  };
  for await (const { frame } of queriers.next().samples(request, context)) {
    readResultFrame(frame, (bytes, start, end, timestampsMs, values, count, histograms) => {
      metrics.samples.inc(count);
      const samples = { timestampsMs, values, words: wordsOf(values), count, histograms };
      onSeries({ bytes, start, end, external }, samples);
    });
    await onFrame();
  }
}

/** Series are stored without external labels. */
function withoutExternal(matcher: Matcher, external: Reading['external']): Matcher {
  const isOurs = ([name, value]: readonly [string, string]) =>
    matcher.operator === '=' && matcher.name === name && matcher.value === value;
  return external.some(isOurs) ? { ...matcher, value: '' } : matcher;
}

async function sendSamples({ response }: Exchange, reading: Reading): Promise<void> {
  const results = new ByteWriter(64 * 1024);
  let samplesLeft = SAMPLES_MAX;
  for (const query of reading.request.queries) {
    const writer = new ReadResponseWriter();
    const onSeries: OnSeries = (labels, samples) => {
      samplesLeft -= samples.count;
      if (samplesLeft < 0)
        throw new AppError(
          'bad_data',
          `exceeded sample limit (${SAMPLES_MAX}); accept STREAMED_XOR_CHUNKS, or ask for less`,
        );
      writer.timeSeries(1, labels, samples);
      if (results.length + writer.out.length > ANSWER_BYTES_MAX)
        throw new AppError(
          'bad_data',
          `the answer has more than ${ANSWER_BYTES_MAX} bytes; accept STREAMED_XOR_CHUNKS, or ask for less`,
        );
    };
    await readSeries(query, reading, onSeries, () => Promise.resolve());
    putMessage(results, 1, writer.out);
  }
  const body = compressSnappy(results.bytes.subarray(0, results.length));
  response.setHeader('Content-Type', 'application/x-protobuf');
  response.setHeader('Content-Encoding', 'snappy');
  response.setHeader('Content-Length', body.length);
  response.end(body);
}

async function streamChunks(exchange: Exchange, reading: Reading): Promise<void> {
  const { response } = exchange;
  const writer = new ReadResponseWriter();
  let frames: Buffer[] = [];
  const flush = async (): Promise<void> => {
    if (frames.length === 0) return;
    if (!response.headersSent) {
      response.setHeader(
        'Content-Type',
        'application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse',
      );
    }
    const taken = Buffer.concat(frames);
    frames = [];
    if (!response.write(taken)) await untilRead(exchange);
  };
  for (const [index, query] of reading.request.queries.entries()) {
    const onSeries: OnSeries = (labels, samples) => {
      for (let from = 0; from < samples.count; ) {
        // One series to a frame: Prometheus' own reader looks at the first one only.
        from = writer.chunkedSeries(labels, samples, from, FRAME_BYTES_MAX);
        frames.push(writer.takeFrame(index));
      }
    };
    await readSeries(query, reading, onSeries, flush);
  }
  if (!response.headersSent) {
    response.setHeader(
      'Content-Type',
      'application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse',
    );
  }
  response.end();
}

/** Requests that are answered at one time, and those that wait, in order. */
class Turns {
  running = 0;
  readonly #waiting: (() => void)[] = [];

  async enter(signal: AbortSignal): Promise<void> {
    if (this.running < CONCURRENT_MAX) {
      this.running++;
      return;
    }
    if (this.#waiting.length >= WAITING_MAX)
      throw new AppError(
        'unavailable',
        `${CONCURRENT_MAX} remote reads run and ${WAITING_MAX} wait; ask again later`,
      );
    const turn = Promise.withResolvers<void>();
    const onAbort = () => {
      this.#waiting.splice(this.#waiting.indexOf(turn.resolve), 1);
      turn.reject(signal.reason as Error);
    };
    this.#waiting.push(turn.resolve);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await turn.promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** The turn goes to whoever waits longest. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.running--;
    else next();
  }
}

function createMetrics(registry: Registry, turns: Turns) {
  const registers = [registry];
  new Gauge({
    name: 'tidemark_gateway_remote_reads_running',
    help: 'Remote reads that are answered now.',
    registers,
    collect() {
      this.set(turns.running);
    },
  });
  return {
    requests: new Counter({
      name: 'tidemark_gateway_remote_reads_total',
      help: 'Remote reads, by how they ended.',
      labelNames: ['result'],
      registers,
    }),
    samples: new Counter({
      name: 'tidemark_gateway_remote_read_samples_total',
      help: 'Samples handed over by remote reads.',
      registers,
    }),
    seconds: new Histogram({
      name: 'tidemark_gateway_remote_read_duration_seconds',
      help: 'Time from a remote read to the end of its answer.',
      buckets: [0.01, 0.1, 1, 10, 60],
      registers,
    }),
  };
}
