// The calls that the page makes, all relative to where it was loaded from.

export type LabelSet = Readonly<Record<string, string>>;

export interface MatrixSeries {
  readonly metric: LabelSet;
  readonly values: readonly (readonly [number, string])[];
}

export interface VectorSample {
  readonly metric: LabelSet;
  readonly value: readonly [number, string];
}

export type QueryData =
  | { readonly resultType: 'matrix'; readonly result: readonly MatrixSeries[] }
  | { readonly resultType: 'vector'; readonly result: readonly VectorSample[] }
  | { readonly resultType: 'scalar' | 'string'; readonly result: readonly [number, string] };

export interface Target {
  readonly labels: LabelSet;
  readonly scrapePool: string;
  readonly scrapeUrl: string;
  readonly lastError: string;
  readonly lastScrape: string;
  readonly lastScrapeDuration: number;
  readonly health: string;
  readonly scrapeInterval: string;
}

/** A process of the cluster. */
export interface ClusterMember {
  readonly service: string;
  readonly instance: string;
  readonly zone: string;
  readonly version: string;
  /** `starting`, `ready`, `draining`; `absent` for an owner of data that is not there. */
  readonly state: string;
  readonly grpcAddress: string;
  readonly httpAddress: string;
  readonly startTime: string;
  /** Null for one that is absent. */
  readonly heartbeatAgeSeconds: number | null;
  readonly partitionsOwned: number;
}

export interface ClusterMembers {
  /** `embedded` in a process that is all by itself, else `reachable` or `unreachable`. */
  readonly controlPlane: string;
  /** Of the placement; 0 before the first one. */
  readonly epoch: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly members: readonly ClusterMember[];
}

export interface Arrivals {
  readonly samplesTotal: number;
  readonly intervalSeconds: number;
  readonly samplesPerSecond: readonly number[];
}

/** A successful answer. */
export interface Answer<T> {
  readonly data: T;
  readonly warnings: readonly string[];
  readonly infos: readonly string[];
}

interface Envelope<T> {
  readonly status: 'success' | 'error';
  readonly data?: T;
  readonly errorType?: string;
  readonly error?: string;
  readonly warnings?: readonly string[];
  readonly infos?: readonly string[];
}

/** What the server said is wrong, or that it could not be reached. */
export class ApiError extends Error {}

/**
 * Calls the API by POST where there are parameters (queries may be long), else by GET.
 *
 * @throws ApiError with a message for people; the signal's reason when it aborts.
 */
export async function call<T>(
  path: string,
  parameters: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<Answer<T>> {
  const form = new URLSearchParams(parameters);
  const request: RequestInit = form.size > 0 ? { method: 'POST', body: form } : {};
  if (signal !== undefined) request.signal = signal;
  let response: Response;
  try {
    response = await fetch(`api/v1/${path}`, request);
  } catch (caught) {
    if (signal?.aborted) throw caught;
    throw new ApiError('The server cannot be reached.');
  }
  return open<T>(response);
}

async function open<T>(response: Response): Promise<Answer<T>> {
  const text = await response.text();
  let envelope: Envelope<T>;
  try {
    envelope = JSON.parse(text) as Envelope<T>;
  } catch {
    throw new ApiError(
      response.status === 503 ? 'The server is starting or stopping.' : describe(response, text),
    );
  }
  if (envelope.status !== 'success') {
    throw new ApiError(`${envelope.errorType ?? response.status}: ${envelope.error ?? 'no reason given'}`);
  }
  return {
    data: envelope.data as T,
    warnings: envelope.warnings ?? [],
    infos: envelope.infos ?? [],
  };
}

function describe(response: Response, text: string): string {
  return `HTTP ${response.status}: ${text.slice(0, 500)}`;
}
