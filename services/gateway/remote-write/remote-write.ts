// POST /api/v1/write: remote write 1.0 and 2.0. Reads and decodes a body under bounds, hands the samples to the distributor and
// puts the outcome into the words and status codes that senders act upon (DESIGN.md 5, "What the client sees").
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { unreachable } from '../../lib/core/assert.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { failpoint } from '../../lib/core/failpoint.ts';
import type { Appender, Distributor, WriteOutcome } from '../../lib/distributor/appender.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { memoryShare } from '../../lib/runtime/memory-limit.ts';
import { SNAPPY_DECODED_BYTES_MAX, snappyDecodedBytes } from '../../lib/wire/compression/snappy.ts';
import { decompressZstd } from '../../lib/wire/compression/zstd.ts';
import { RemoteWriteColumns } from '../../lib/wire/remote-write/remote-write-columns.ts';
import type { DecodedWrite } from '../../lib/wire/remote-write/remote-write-context.ts';
import {
  RemoteWriteDecoder,
  type RemoteWriteVersion,
} from '../../lib/wire/remote-write/remote-write-decoder.ts';
import {
  BodyDeadlines,
  BodyTooLargeError,
  BudgetShare,
  MemoryBudget,
  readBody,
  SEND_FEWER,
} from './remote-write-body.ts';
import { createRemoteWriteMetrics, type RemoteWriteMetrics } from './remote-write-metrics.ts';
import { Negotiator, type RemoteWriteCompression } from './remote-write-negotiation.ts';

export interface RemoteWriteOptions {
  /** Largest compressed body. Default 32 MiB. */
  readonly bodyBytesMax?: number;
  /** Largest decompressed request. Default 32 MiB, as Prometheus. */
  readonly decodedBytesMax?: number;
  /** Bodies and samples of all requests in flight. Default 256 MiB. */
  readonly requestMemoryBytesMax?: number;
  /** Longest time a client may take to send its body. Default 30 s. */
  readonly bodyTimeoutMs?: number;
  /** Series remembered per tenant, so that their labels are not looked at again. Default 4 million. */
  readonly cachedSeriesMax?: number;
}

export interface RemoteWriteDeps {
  readonly distributor: Distributor;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

export type RemoteWriteHandler = (req: IncomingMessage, res: ServerResponse, tenant: string) => Promise<void>;

const DEFAULTS = {
  bodyBytesMax: 32 * 1024 * 1024,
  decodedBytesMax: SNAPPY_DECODED_BYTES_MAX,
  requestMemoryBytesMax: memoryShare(1 / 8, 256 * 1024 * 1024),
  bodyTimeoutMs: 30_000,
  cachedSeriesMax: 4_000_000,
} as const;

/** Metric families whose metadata is remembered per tenant. */
const CACHED_METRICS_MAX = 100_000;
const METADATA_RESEND_MS = 10 * 60_000;

/** Seconds that a sender is asked to wait: for the cluster to recover, for its own quota. */
const RETRY_UNAVAILABLE_SECONDS = 2;
const RETRY_QUOTA_SECONDS = 10;

/** Scratch and columns up to these sizes stay for the next request. */
const SCRATCH_BYTES_KEPT = 4 * 1024 * 1024;
const COLUMNS_BYTES_KEPT = 1024 * 1024;
const COLUMNS_KEPT = 64;

/** A refused body is still read, and thrown away, for this long: a client that is writing would miss the reply. */
const LINGER_MS = 5000;

const STATUS_CLIENT_LEFT = 499;

interface Tenant {
  readonly appender: Appender;
  readonly decoder: RemoteWriteDecoder;
}

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly retryAfterSeconds?: number;
  readonly written: Written;
}

/** What is durable of a request. */
interface Written {
  /** Float samples. */
  readonly samples: number;
  readonly histograms: number;
  readonly exemplars: number;
}

const NOTHING_WRITTEN: Written = { samples: 0, histograms: 0, exemplars: 0 };

/**
 * Makes the handler. It answers every request itself and never rejects.
 */
export function createRemoteWriteHandler(
  options: RemoteWriteOptions,
  deps: RemoteWriteDeps,
): RemoteWriteHandler {
  const endpoint = new RemoteWriteEndpoint({ ...DEFAULTS, ...options }, deps);
  return (req, res, tenant) => endpoint.handle(req, res, tenant);
}

class RemoteWriteEndpoint {
  readonly #options: Required<RemoteWriteOptions>;
  readonly #deps: RemoteWriteDeps;
  readonly #metrics: RemoteWriteMetrics;
  readonly #budget: MemoryBudget;
  readonly #deadlines: BodyDeadlines;
  readonly #negotiator = new Negotiator();
  readonly #tenants = new Map<string, Tenant>();
  readonly #columns: RemoteWriteColumns[] = [];
  /** Body of the request that is being decoded, which happens without a pause. */
  #joinScratch = new Uint8Array(0);

  constructor(options: Required<RemoteWriteOptions>, deps: RemoteWriteDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#budget = new MemoryBudget(options.requestMemoryBytesMax);
    this.#deadlines = new BodyDeadlines(options.bodyTimeoutMs, deps.clock);
    this.#metrics = createRemoteWriteMetrics(deps.registry, () => this.#budget.usedBytes);
  }

  async handle(req: IncomingMessage, res: ServerResponse, tenant: string): Promise<void> {
    const startedMs = this.#deps.clock.monotonicMs();
    if (req.method !== 'POST') {
      res.setHeader('Allow', 'POST');
      this.#reply(req, res, undefined, refusal(405, `${req.method} is not allowed here; use POST`));
      return;
    }
    const negotiation = this.#negotiator.negotiate(req.headers);
    if ('refusal' in negotiation) {
      this.#reply(req, res, undefined, refusal(415, negotiation.refusal));
      return;
    }
    const { version, compression } = negotiation;
    const share = new BudgetShare(this.#budget);
    const departure = new AbortController();
    const onClose = (): void => departure.abort(new AppError('canceled', 'the client left'));
    res.once('close', onClose);
    let reply: Reply;
    try {
      reply = await this.#receive(req, version, compression, tenant, share, departure.signal);
    } catch (caught) {
      reply = this.#replyOfError(caught);
    } finally {
      share.releaseAll();
      res.off('close', onClose);
    }
    this.#reply(req, res, version, reply);
    this.#metrics.seconds.observe(
      { version: versionLabel(version) },
      (this.#deps.clock.monotonicMs() - startedMs) / 1000,
    );
  }

  async #receive(
    req: IncomingMessage,
    version: RemoteWriteVersion,
    compression: RemoteWriteCompression,
    tenantName: string,
    share: BudgetShare,
    signal: AbortSignal,
  ): Promise<Reply> {
    const chunks = await this.#readInTime(req, share);
    for (const chunk of chunks) this.#metrics.bodyBytes.inc(chunk.length);
    const tenant = this.#tenantOf(tenantName);
    const columns = this.#columns.pop() ?? new RemoteWriteColumns();
    try {
      let decoded = this.#decode(version, compression, chunks, tenant, columns);
      share.reserve(columns.usedBytes);
      this.#countReceived(version, decoded);
      const outcome = await this.#write(tenant, columns, decoded, signal, () => {
        decoded = this.#decode(version, compression, chunks, tenant, columns);
        return decoded;
      });
      this.#countRefused(decoded, outcome);
      return replyOfOutcome(decoded, outcome);
    } finally {
      const kept = columns.capacityBytes <= COLUMNS_BYTES_KEPT && this.#columns.length < COLUMNS_KEPT;
      if (kept) this.#columns.push(columns);
    }
  }

  /** A client that leaves meanwhile closes its request, which ends the reading, too. */
  #readInTime(req: IncomingMessage, share: BudgetShare): Promise<Buffer[]> {
    const { bodyBytesMax, bodyTimeoutMs } = this.#options;
    return readBody(req, bodyBytesMax, share, (end) =>
      this.#deadlines.begin(() =>
        end(new AppError('timeout', `the request body took longer than ${bodyTimeoutMs} ms`)),
      ),
    );
  }

  /** Decompresses and decodes, in one go: the scratch belongs to nobody afterwards. */
  #decode(
    version: RemoteWriteVersion,
    compression: RemoteWriteCompression,
    chunks: readonly Buffer[],
    tenant: Tenant,
    columns: RemoteWriteColumns,
  ): DecodedWrite {
    const body = this.#join(chunks);
    const nowMs = this.#deps.clock.nowMs();
    try {
      if (compression === 'zstd') {
        const bytes = decompressZstd(body, this.#options.decodedBytesMax);
        return tenant.decoder.decode(version, bytes, bytes.length, columns, nowMs);
      }
      this.#checkDecodedBytes(body);
      return tenant.decoder.decodeSnappy(version, body, columns, nowMs);
    } catch (caught) {
      // The tenant's own quota does not come out of the decoder as an error: this is about one request's size.
      if (!(caught instanceof AppError) || caught.code !== 'resource_exhausted') throw caught;
      throw new BodyTooLargeError(caught.message);
    } finally {
      if (this.#joinScratch.length > SCRATCH_BYTES_KEPT) this.#joinScratch = new Uint8Array(0);
    }
  }

  /** @throws BodyTooLargeError before anything is allocated for the decompressed request. */
  #checkDecodedBytes(body: Uint8Array): void {
    const { decodedBytesMax } = this.#options;
    const declared = snappyDecodedBytes(body);
    if (declared <= decodedBytesMax) return;
    throw new BodyTooLargeError(
      `the request decompresses to ${declared} bytes, the limit decodedBytesMax is ${decodedBytesMax}; ${SEND_FEWER}`,
    );
  }

  /** The body in one piece: the only chunk, or a copy in scratch. */
  #join(chunks: readonly Buffer[]): Uint8Array {
    if (chunks.length === 1) return chunks[0]!;
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    if (this.#joinScratch.length < bytes) this.#joinScratch = new Uint8Array(powerOfTwoFrom(bytes));
    let position = 0;
    for (const chunk of chunks) {
      this.#joinScratch.set(chunk, position);
      position += chunk.length;
    }
    return this.#joinScratch.subarray(0, bytes);
  }

  /** Writes what was decoded; once more when references had been forgotten (appender.ts). */
  async #write(
    tenant: Tenant,
    columns: RemoteWriteColumns,
    decoded: DecodedWrite,
    signal: AbortSignal,
    decodeAgain: () => DecodedWrite,
  ): Promise<WriteOutcome> {
    try {
      return await tenant.appender.write(columns, decoded.metadata, signal);
    } catch (caught) {
      if (decoded.metadata.length > 0 || columns.extras !== undefined) tenant.decoder.forgetNews();
      if (toAppError(caught).code !== 'failed_precondition') throw caught;
    }
    tenant.decoder.forgetSeries();
    return tenant.appender.write(columns, decodeAgain().metadata, signal);
  }

  #tenantOf(name: string): Tenant {
    let tenant = this.#tenants.get(name);
    if (tenant === undefined) {
      const appender = this.#deps.distributor.appender(name);
      const decoder = new RemoteWriteDecoder(
        {
          cachedSeriesMax: this.#options.cachedSeriesMax,
          cachedMetricsMax: CACHED_METRICS_MAX,
          hashSeed: randomBytes(4).readUInt32LE(0),
          metadataResendMs: METADATA_RESEND_MS,
        },
        { resolver: appender },
      );
      tenant = { appender, decoder };
      this.#tenants.set(name, tenant);
    }
    return tenant;
  }

  #countReceived(version: RemoteWriteVersion, decoded: DecodedWrite): void {
    const { samples, histograms, exemplars } = this.#metrics;
    const label = { version: versionLabel(version) };
    samples.inc(label, decoded.samples);
    if (decoded.histograms > 0) histograms.inc(label, decoded.histograms);
    if (decoded.exemplars > 0) exemplars.inc(label, decoded.exemplars);
  }

  #countRefused(decoded: DecodedWrite, outcome: WriteOutcome): void {
    const { refused } = this.#metrics;
    const reason = decoded.overQuota ? 'quota' : 'series';
    const exemplars = decoded.refusedExemplars + outcome.exemplarsRejected;
    if (decoded.refusedSamples > 0) refused.inc({ kind: 'sample', reason }, decoded.refusedSamples);
    if (decoded.refusedSeries > 0) refused.inc({ kind: 'series', reason: 'empty' }, decoded.refusedSeries);
    if (decoded.refusedHistograms > 0) {
      refused.inc(
        { kind: 'histogram', reason: decoded.overQuota ? 'quota' : 'invalid' },
        decoded.refusedHistograms,
      );
    }
    if (outcome.overLimit !== undefined && outcome.overLimit > 0)
      refused.inc({ kind: 'sample', reason: 'quota' }, outcome.overLimit);
    if (exemplars > 0) refused.inc({ kind: 'exemplar', reason: 'invalid' }, exemplars);
  }

  #replyOfError(caught: unknown): Reply {
    if (caught instanceof BodyTooLargeError) return refusal(413, caught.message);
    const error = toAppError(caught);
    switch (error.code) {
      case 'bad_data':
        return refusal(400, error.message);
      case 'resource_exhausted':
        return { ...refusal(429, error.message), retryAfterSeconds: RETRY_QUOTA_SECONDS };
      case 'canceled':
        return refusal(STATUS_CLIENT_LEFT, error.message);
      case 'unavailable':
      case 'timeout':
      case 'failed_precondition':
        return { ...refusal(503, error.message), retryAfterSeconds: RETRY_UNAVAILABLE_SECONDS };
      case 'execution':
      case 'not_found':
      case 'already_exists':
      case 'internal':
        this.#deps.logger.error({ err: error }, 'remote write failed');
        return refusal(500, error.message);
      default:
        return unreachable(error.code);
    }
  }

  #reply(
    req: IncomingMessage,
    res: ServerResponse,
    version: RemoteWriteVersion | undefined,
    reply: Reply,
  ): void {
    this.#metrics.requests.inc({ code: String(reply.status), version: versionLabel(version) });
    if (res.destroyed || res.headersSent) return;
    if (reply.status === STATUS_CLIENT_LEFT) {
      res.destroy();
      return;
    }
    res.statusCode = reply.status;
    if (version === 2) {
      const { samples, histograms, exemplars } = reply.written;
      res.setHeader('X-Prometheus-Remote-Write-Samples-Written', String(samples));
      res.setHeader('X-Prometheus-Remote-Write-Histograms-Written', String(histograms));
      res.setHeader('X-Prometheus-Remote-Write-Exemplars-Written', String(exemplars));
    }
    if (reply.retryAfterSeconds !== undefined) res.setHeader('Retry-After', String(reply.retryAfterSeconds));
    if (reply.status === 204) {
      failpoint('write-ack-before');
      res.end();
      failpoint('write-ack-after');
      return;
    }
    res.setHeader('Content-Type', 'text/plain; charset=utf-8');
    if (!req.complete) this.#linger(req);
    res.end(`${reply.text}\n`);
  }

  /** The rest of a refused body is thrown away as it comes; after a while the connection is closed. */
  #linger(req: IncomingMessage): void {
    req.resume();
    const { clock } = this.#deps;
    const ended = new AbortController();
    req.once('close', () => ended.abort());
    clock.sleep(LINGER_MS, ended.signal).then(
      () => req.destroy(),
      () => {},
    );
  }
}

function refusal(status: number, text: string): Reply {
  return { status, text, written: NOTHING_WRITTEN };
}

/** 204, or what was refused of a request whose other samples are durable. Exemplars fail no request, as upstream has it. */
function replyOfOutcome(decoded: DecodedWrite, outcome: WriteOutcome): Reply {
  const written: Written = {
    samples: outcome.written - outcome.histogramsWritten,
    histograms: outcome.histogramsWritten,
    exemplars: outcome.exemplarsWritten,
  };
  const sent = decoded.samples + decoded.histograms;
  const refused = decoded.refusedSamples + decoded.refusedHistograms + outcome.rejected;
  const parts: string[] = [];
  if (refused > 0) parts.push(`${refused} of ${sent} samples were refused`);
  if (decoded.refusedSeries > 0)
    parts.push(`${decoded.refusedSeries} of ${decoded.series} series were refused`);
  if (parts.length === 0) return { status: 204, text: '', written };
  const first = decoded.firstRefusal ?? outcome.firstRejection;
  const reason = first === undefined ? '' : `; first refusal: ${first}`;
  const text = `${parts.join(', ')}; ${outcome.written} samples were written${reason}`;
  if (!decoded.overQuota && !(outcome.overLimit !== undefined && outcome.overLimit > 0))
    return { status: 400, text, written };
  return { status: 429, text, written, retryAfterSeconds: RETRY_QUOTA_SECONDS };
}

function versionLabel(version: RemoteWriteVersion | undefined): string {
  if (version === undefined) return 'unknown';
  return version === 1 ? '1.0' : '2.0';
}

function powerOfTwoFrom(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(bytes, 64 * 1024)));
}
