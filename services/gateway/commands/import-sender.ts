// Sends an import's requests to a running Tidemark: several at a time, tried again while the server says "not now", counted by
// what it says it has written. A request that is answered is durable.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { compressSnappy } from '../../lib/wire/compression/snappy-compress.ts';
import type { ImportRequest } from './import-request.ts';

export interface SenderOptions {
  /** Of the gateway: `http://127.0.0.1:9090`. */
  readonly url: string;
  /** A request is given up after it was refused for so long with "not now". */
  readonly retryMs: number;
  /** Requests under way at a time. */
  readonly concurrency: number;
}

export interface SenderDeps {
  readonly clock: Clock;
  /** Told once for each text why samples were refused. */
  readonly onRefusal: (text: string) => void;
}

/** What has been answered. */
export interface SenderCounts {
  samples: number;
  histograms: number;
  exemplars: number;
  /** Samples and histograms that the server refused for good: outside its retention, labels over its limits … */
  refused: number;
  /** Attempts that were answered with "not now", or not at all. */
  retries: number;
}

const REQUEST_TIMEOUT_MS = 60_000;
const PAUSE_MS_MIN = 200;
const PAUSE_MS_MAX = 10_000;
/** Different reasons of refusal that are told. */
const REASONS_MAX = 20;

export class ImportSender {
  readonly counts: SenderCounts = { samples: 0, histograms: 0, exemplars: 0, refused: 0, retries: 0 };
  readonly #endpoint: string;
  readonly #options: SenderOptions;
  readonly #deps: SenderDeps;
  readonly #waiting: ImportRequest[] = [];
  readonly #underWay = new Set<Promise<void>>();
  readonly #reasons = new Set<string>();
  #failure: AppError | undefined;

  constructor(options: SenderOptions, deps: SenderDeps) {
    this.#endpoint = `${options.url.replace(/\/+$/, '')}/api/v1/write`;
    this.#options = options;
    this.#deps = deps;
  }

  /** Takes a request over; `settle` before many more. */
  add(request: ImportRequest): void {
    this.#waiting.push(request);
    this.#start();
  }

  /**
   * Resolves when no request waits any more, though some are under way: call it between pieces of input, so that what
   * waits in memory stays bounded.
   *
   * @throws AppError `unavailable` when a request had to be given up; the import has to end then.
   */
  async settle(): Promise<void> {
    while (this.#waiting.length > 0 && this.#failure === undefined) await Promise.race(this.#underWay);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when all that was added is answered. @throws as `settle`. */
  async drain(): Promise<void> {
    while (this.#underWay.size > 0 && this.#failure === undefined) await Promise.race(this.#underWay);
    await this.settle();
  }

  #start(): void {
    while (this.#underWay.size < this.#options.concurrency && this.#failure === undefined) {
      const request = this.#waiting.shift();
      if (request === undefined) return;
      const sending: Promise<void> = this.#send(request)
        .catch((caught: unknown) => {
          this.#failure ??= toAppError(caught);
        })
        .then(() => {
          this.#underWay.delete(sending);
          this.#start();
        });
      this.#underWay.add(sending);
    }
  }

  async #send(request: ImportRequest): Promise<void> {
    const { clock } = this.#deps;
    const body = compressSnappy(request.bytes);
    const deadlineMs = clock.monotonicMs() + this.#options.retryMs;
    for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(PAUSE_MS_MAX, pauseMs * 2)) {
      const answer = await this.#post(body);
      if (answer.isFinal) {
        this.#count(request, answer);
        return;
      }
      this.counts.retries++;
      if (this.#failure !== undefined || clock.monotonicMs() > deadlineMs) {
        throw new AppError(
          'unavailable',
          `${this.#endpoint} does not take samples: ${answer.text}; start the import again when it does, it goes on from here`,
        );
      }
      await clock.sleep(Math.max(pauseMs, answer.retryAfterMs));
    }
  }

  async #post(body: Uint8Array<ArrayBuffer>): Promise<Answer> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(this.#endpoint, {
        method: 'POST',
        body,
        headers: {
          'content-type': 'application/x-protobuf',
          'content-encoding': 'snappy',
          'x-prometheus-remote-write-version': '0.1.0',
          'user-agent': 'tidemark-import',
        },
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      text = await response.text();
    } catch (caught) {
      const error = caught as Error;
      const why = error.cause instanceof Error ? error.cause.message : error.message;
      return { isFinal: false, text: why, retryAfterMs: 0, written: undefined };
    }
    const { status } = response;
    const said = `${status} ${text.trim().slice(0, 500)}`;
    if (status === 204 || status === 200 || status === 400) {
      return {
        isFinal: true,
        text: status === 400 ? said : '',
        retryAfterMs: 0,
        written: readWritten(response),
      };
    }
    if (status === 429 || status >= 500) {
      const retryAfterMs = Number(response.headers.get('retry-after') ?? 0) * 1000;
      return {
        isFinal: false,
        text: said,
        retryAfterMs: Number.isFinite(retryAfterMs) ? retryAfterMs : 0,
        written: undefined,
      };
    }
    throw new AppError(
      'failed_precondition',
      `${this.#endpoint} answers ${said}: is this a Tidemark gateway?`,
    );
  }

  #count(request: ImportRequest, { text, written }: Answer): void {
    const { counts } = this;
    const all = { samples: request.samples, histograms: request.histograms, exemplars: request.exemplars };
    const done = written ?? (text === '' ? all : { samples: 0, histograms: 0, exemplars: 0 });
    counts.samples += done.samples;
    counts.histograms += done.histograms;
    counts.exemplars += done.exemplars;
    if (text === '') return;
    counts.refused += all.samples - done.samples + all.histograms - done.histograms;
    if (this.#reasons.size >= REASONS_MAX || this.#reasons.has(text)) return;
    this.#reasons.add(text);
    this.#deps.onRefusal(text);
  }
}

interface Written {
  readonly samples: number;
  readonly histograms: number;
  readonly exemplars: number;
}

interface Answer {
  /** The server has decided; what it refused it would refuse again. */
  readonly isFinal: boolean;
  /** Empty when all was written. */
  readonly text: string;
  readonly retryAfterMs: number;
  readonly written: Written | undefined;
}

/** What the server says it has written; undefined when it does not say. */
function readWritten({ headers }: Response): Written | undefined {
  const read = (kind: string): number =>
    Number(headers.get(`x-prometheus-remote-write-${kind}-written`) ?? 'x');
  const written = { samples: read('samples'), histograms: read('histograms'), exemplars: read('exemplars') };
  return Object.values(written).every(Number.isSafeInteger) ? written : undefined;
}
