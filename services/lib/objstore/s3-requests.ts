// Requests to an S3 API: signed, bounded in number and time, tried again with back-off where that may help, and errors that say which bucket
// and key, what the server said, and what to do.
import { createHash } from 'node:crypto';
import { AwsClient } from 'aws4fetch';
import type { Clock } from '../core/clock.ts';
import { AppError, throwIfAborted, toAppError } from '../core/errors.ts';
import type { RemovalRight } from './object-store.ts';
import type { ObjstoreMetrics } from './objstore-metrics.ts';
import type { S3Credentials } from './s3-credentials.ts';
import { xmlText } from './s3-xml.ts';

export interface S3RequestOptions {
  /** `https://host:port` of the API. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** The bucket is the first label of the host name, not of the path. */
  readonly isVirtualHost: boolean;
  /** Requests under way at one time. */
  readonly requestsMax: number;
  readonly attemptsMax: number;
}

export interface S3RequestDeps {
  readonly credentials: () => Promise<S3Credentials>;
  readonly clock: Clock;
  readonly metrics: ObjstoreMetrics;
}

export type S3Operation = 'put' | 'get' | 'head' | 'list' | 'delete' | 'multipart';

export interface S3Request {
  readonly operation: S3Operation;
  readonly method: 'GET' | 'PUT' | 'POST' | 'HEAD' | 'DELETE';
  /** Of the bucket, without a slash before it; empty: the bucket itself. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer>;
  /** The server refuses the request after its end. Of requests without a body. */
  readonly right?: RemovalRight;
}

/** A server's first byte comes within this, however much else it does; a body must flow at 64 KiB per second at least. */
const ANSWER_TIMEOUT_MS = 30_000;
const BYTES_PER_SECOND_MIN = 64 << 10;
const BACKOFF_MS = 200;
const BACKOFF_MS_MAX = 10_000;
const ERROR_BYTES_MAX = 64 << 10;
/** Machines of one object store differ in their time by less than this. */
const SKEW_MS_MAX = 1_000;
/** A request that must have its effect soon is given so long at most. */
const VALID_SECONDS_MAX = 30;
const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504]);

/** What S3 says in an error's body and status, with a remedy for what operators meet. */
const REMEDIES: Readonly<Record<string, string>> = {
  NoSuchBucket: 'make the bucket, or correct --objstore.bucket',
  InvalidAccessKeyId: 'the access key is not known there',
  SignatureDoesNotMatch: 'the secret key is wrong, or --objstore.region is not the bucket’s',
  AccessDenied: 'the credentials lack s3:ListBucket, s3:GetObject, s3:PutObject or s3:DeleteObject on it',
  RequestTimeTooSkewed: 'the clock of this machine is wrong',
  ExpiredToken: 'the session token has ended',
  PermanentRedirect: '--objstore.region or --objstore.endpoint is not the bucket’s',
  AuthorizationHeaderMalformed: '--objstore.region is not the bucket’s',
};

export class S3Requests {
  readonly #options: S3RequestOptions;
  readonly #deps: S3RequestDeps;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  /** The server's time, Unix ms, and when it was heard, monotonic: it is later there than these say together. */
  #time: { readonly serverMs: number; readonly heardAtMs: number } | undefined;

  constructor(options: S3RequestOptions, deps: S3RequestDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Sends a request until it succeeds or there is no use in trying, and gives its answer to `read`, which is part of the attempt.
   *
   * @param read  Consumes the body; called once per attempt that was answered with success.
   */
  async send<T>(request: S3Request, signal: AbortSignal, read: (answer: Response) => Promise<T>): Promise<T> {
    await this.#enter(signal);
    try {
      for (let attempt = 1; ; attempt++) {
        const outcome = await this.#attempt(request, signal, read);
        if ('value' in outcome) return outcome.value;
        this.#deps.metrics.failed(request.operation, outcome.isFinal || attempt >= this.#options.attemptsMax);
        if (outcome.isFinal || attempt >= this.#options.attemptsMax) throw outcome.error;
        const waitMs = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** (attempt - 1));
        await this.#deps.clock.sleep(Math.max(outcome.retryAfterMs, waitMs * (0.5 + Math.random())), signal);
      }
    } finally {
      this.#leave();
    }
  }

  async #attempt<T>(
    request: S3Request,
    signal: AbortSignal,
    read: (answer: Response) => Promise<T>,
  ): Promise<{ value: T } | { error: AppError; isFinal: boolean; retryAfterMs: number }> {
    throwIfAborted(signal);
    const limit = new AbortController();
    const bytes = request.body?.length ?? 0;
    const timeoutMs = ANSWER_TIMEOUT_MS + (bytes / BYTES_PER_SECOND_MIN) * 1_000;
    const timer = setTimeout(
      () => limit.abort(new AppError('timeout', `no answer within ${Math.round(timeoutMs / 1_000)} s`)),
      timeoutMs,
    );
    const startedMs = this.#deps.clock.monotonicMs();
    try {
      const signed = await this.#sign(request);
      const answer = await fetch(signed, { signal: AbortSignal.any([signal, limit.signal]) });
      clearTimeout(timer);
      this.#hearTime(answer);
      this.#deps.metrics.answered(request.operation, (this.#deps.clock.monotonicMs() - startedMs) / 1_000);
      if (!answer.ok) return await this.#refused(request, answer);
      return { value: await read(answer) };
    } catch (caught) {
      throwIfAborted(signal);
      const error = limit.signal.aborted ? toAppError(limit.signal.reason) : caught;
      if (error instanceof AppError && error.code !== 'timeout' && error.code !== 'unavailable')
        return { error, isFinal: true, retryAfterMs: 0 };
      return { error: this.#unreachable(request, error), isFinal: false, retryAfterMs: 0 };
    } finally {
      clearTimeout(timer);
    }
  }

  #hearTime(answer: Response): void {
    const serverMs = Date.parse(answer.headers.get('date') ?? '');
    if (Number.isFinite(serverMs)) this.#time = { serverMs, heardAtMs: this.#deps.clock.monotonicMs() };
  }

  async #sign(request: S3Request): Promise<Request> {
    const { method, key, query = {}, headers = {}, body, right } = request;
    const { endpoint, region, bucket, isVirtualHost } = this.#options;
    const { accessKey, secretKey, sessionToken } = await this.#deps.credentials();
    const url = new URL(endpoint);
    if (isVirtualHost) url.hostname = `${bucket}.${url.hostname}`;
    const path = isVirtualHost ? key : `${bucket}/${key}`;
    url.pathname = `/${path.split('/').map(encodeURIComponent).join('/')}`;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const client = new AwsClient({
      accessKeyId: accessKey,
      secretAccessKey: secretKey.reveal(),
      ...(sessionToken !== undefined && { sessionToken: sessionToken.reveal() }),
      ...{ service: 's3', region, retries: 0 },
    });
    if (right !== undefined) {
      const { fromMs, seconds } = this.#validity(request, right);
      url.searchParams.set('X-Amz-Expires', String(seconds));
      return client.sign(url.href, { method, headers, aws: { signQuery: true, datetime: stampOf(fromMs) } });
    }
    // The server checks the body against this, so nothing arrives other than it was sent.
    const digest = createHash('sha256')
      .update(body ?? new Uint8Array())
      .digest('hex');
    return client.sign(url.href, {
      method,
      headers: { ...headers, 'x-amz-content-sha256': digest },
      ...(body !== undefined && { body }),
    });
  }

  /**
   * From when on by the server's clock, and for how long, a request under a right is good: it ends before the right does, wherever this process
   * is stopped from here on. The time is taken before the right is asked; whatever passes in between shortens it.
   */
  #validity(request: S3Request, right: RemovalRight): { readonly fromMs: number; readonly seconds: number } {
    if (this.#time === undefined)
      throw new AppError(
        'failed_precondition',
        `${this.#describe(request)}: ${this.#options.endpoint} has not told its time (no Date in its answers), by which removals are bounded`,
      );
    const fromMs = this.#time.serverMs + this.#deps.clock.monotonicMs() - this.#time.heardAtMs;
    const endMs = fromMs + right.leftMs() - SKEW_MS_MAX;
    // Signatures know whole seconds only.
    const seconds = Math.min(VALID_SECONDS_MAX, Math.floor(endMs / 1_000) - Math.floor(fromMs / 1_000));
    if (seconds < 1) throw this.#ended(request, 'the right to remove ended before it was sent');
    return { fromMs, seconds };
  }

  #ended(request: S3Request, what: string): AppError {
    return new AppError('failed_precondition', `${this.#describe(request)}: ${what}`);
  }

  async #refused(
    request: S3Request,
    answer: Response,
  ): Promise<{ error: AppError; isFinal: boolean; retryAfterMs: number }> {
    const text = await boundedText(answer, ERROR_BYTES_MAX).catch(() => '');
    const said = xmlText(text, 'Code') ?? '';
    const message = xmlText(text, 'Message') ?? '';
    // Codes differ from server to server, these words do not.
    if (request.right !== undefined && answer.status === 403 && /has expired/i.test(message))
      return {
        error: this.#ended(request, `refused, it came too late: ${message}`),
        isFinal: true,
        retryAfterMs: 0,
      };
    const isRetried = RETRIED.has(answer.status) || said === 'RequestTimeout' || said === 'SlowDown';
    const isAbsent = answer.status === 404 && said !== 'NoSuchBucket';
    const code = isAbsent ? 'not_found' : isRetried ? 'unavailable' : 'bad_data';
    const details = [`${answer.status}`, said, message].filter((part) => part !== '').join(' ');
    const remedy = REMEDIES[said] ?? (answer.status === 403 ? REMEDIES.AccessDenied : undefined);
    const what = `${this.#describe(request)}: ${details}${remedy === undefined ? '' : `: ${remedy}`}`;
    const retryAfterMs = Math.min(60, Number(answer.headers.get('retry-after')) || 0) * 1_000;
    return { error: new AppError(code, what), isFinal: !isRetried, retryAfterMs };
  }

  #unreachable(request: S3Request, caught: unknown): AppError {
    const cause = caught instanceof Error && caught.cause instanceof Error ? caught.cause : caught;
    const reason = cause instanceof Error ? cause.message || cause.name : String(cause);
    return new AppError(
      'unavailable',
      `${this.#describe(request)}: ${this.#options.endpoint} cannot be reached: ${reason}`,
      { cause: caught },
    );
  }

  #describe({ operation, key }: S3Request): string {
    return `object storage, ${operation} s3://${this.#options.bucket}/${key}`;
  }

  async #enter(signal: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (this.#running < this.#options.requestsMax) {
      this.#running++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(toAppError(signal.reason));
      };
      const go = (): void => {
        signal.removeEventListener('abort', abort);
        resolve();
      };
      this.#waiting.push(go);
      signal.addEventListener('abort', abort, { once: true });
    });
  }

  /** The place of one that ends goes to the one that waits longest. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next();
  }
}

/** `20261122T114256Z`. */
const stampOf = (ms: number): string => new Date(ms).toISOString().replace(/[:-]|\.\d{3}/g, '');

/** The body as text. @throws AppError `resource_exhausted` when there is more of it. */
export async function boundedText(answer: Response, bytesMax: number): Promise<string> {
  return Buffer.from(await boundedBytes(answer, bytesMax)).toString();
}

/** The body. @throws AppError `resource_exhausted` when there is more of it. */
export async function boundedBytes(answer: Response, bytesMax: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of bodyOf(answer)) {
    length += piece.length;
    if (length > bytesMax)
      throw new AppError('resource_exhausted', `object storage: an answer of more than ${bytesMax} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces, length);
}

/** The body piece by piece; a silence of half a minute ends it. Leaving the loop closes the connection. */
export async function* bodyOf(answer: Response): AsyncGenerator<Uint8Array> {
  const reader = answer.body?.getReader();
  if (reader === undefined) return;
  let isDone = false;
  try {
    for (;;) {
      const { promise: silence, reject } = Promise.withResolvers<never>();
      const timer = setTimeout(
        () => reject(new AppError('timeout', `no byte for ${ANSWER_TIMEOUT_MS / 1_000} s`)),
        ANSWER_TIMEOUT_MS,
      );
      try {
        const { done, value } = await Promise.race([reader.read(), silence]);
        isDone = done;
        if (done) return;
        yield value;
      } finally {
        clearTimeout(timer);
      }
    }
  } finally {
    if (!isDone) await reader.cancel().catch(() => undefined);
  }
}
