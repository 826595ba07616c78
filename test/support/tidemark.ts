// The all-in-one process as tests start it: the real command, a folder of its own, a free port.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type RunningProcess, startProcess } from './process.ts';
import { answers, freePort, repositoryRoot, waitFor } from './programs.ts';

export interface Tidemark extends RunningProcess {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  readonly configFile: string;
}

/** A fresh folder for data and configuration. */
export function freshFolder(): string {
  return mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
}

/** Starts all-in-one and waits until it is ready. */
export async function startTidemark(
  options: {
    /** Text of prometheus.yml. */
    readonly config?: string;
    readonly dataDir?: string;
    readonly port?: number;
    readonly flags?: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    /** Stands before the command, and becomes it. */
    readonly prefix?: readonly string[];
    /** Wait for this long at most until ready. */
    readonly timeoutMs?: number;
  } = {},
): Promise<Tidemark> {
  const dataDir = options.dataDir ?? freshFolder();
  const port = options.port ?? (await freePort());
  const configFile = path.join(freshFolder(), 'prometheus.yml');
  writeFileSync(configFile, options.config ?? 'global: {}\n');
  const args = [
    path.join(repositoryRoot, 'services/all-in-one/main.ts'),
    `--web.listen-address=127.0.0.1:${port}`,
    `--data.dir=${dataDir}`,
    `--config.file=${configFile}`,
    // A second of processor time at each start, for speed that tests do not need.
    '--query.rehearsal=false',
    ...(options.flags ?? []),
  ];
  const [command, ...rest] = [...(options.prefix ?? []), process.execPath, ...args];
  const running = startProcess(command!, rest, options.env === undefined ? {} : { env: options.env });
  const url = `http://127.0.0.1:${port}`;
  await waitFor(
    'all-in-one ready',
    () => {
      if (running.exited() !== undefined) throw new Error(`ended with ${running.exited()}`);
      return answers(`${url}/-/ready`);
    },
    { describe: running.output, timeoutMs: options.timeoutMs ?? 30_000 },
  );
  return { ...running, url, port, dataDir, configFile };
}

interface ApiAnswer {
  readonly status: string;
  readonly errorType?: string;
  readonly error?: string;
  readonly data?: unknown;
}

/** One call of the query API; the parsed body with its HTTP status. */
export async function callApi(
  base: string,
  endpoint: string,
  parameters: Readonly<Record<string, string>>,
): Promise<{ httpStatus: number; body: ApiAnswer }> {
  const response = await fetch(`${base}/api/v1/${endpoint}?${new URLSearchParams(parameters).toString()}`);
  return { httpStatus: response.status, body: (await response.json()) as ApiAnswer };
}

/** A series of a matrix result. */
export interface MatrixSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [number, string])[];
}

/** Runs a range query; throws what the server says when it fails. */
export async function queryRange(
  base: string,
  query: string,
  start: number,
  end: number,
  step: number,
): Promise<MatrixSeries[]> {
  const { body } = await callApi(base, 'query_range', {
    query,
    start: String(start),
    end: String(end),
    step: String(step),
  });
  if (body.status !== 'success') throw new Error(`${query}: ${body.errorType}: ${body.error}`);
  return (body.data as { result: MatrixSeries[] }).result;
}

/** A series of a vector result. */
export interface VectorSample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** Runs an instant query; throws what the server says when it fails. */
export async function queryInstant(base: string, query: string, time?: number): Promise<VectorSample[]> {
  const parameters: Record<string, string> = { query };
  if (time !== undefined) parameters.time = String(time);
  const { body } = await callApi(base, 'query', parameters);
  if (body.status !== 'success') throw new Error(`${query}: ${body.errorType}: ${body.error}`);
  return (body.data as { result: VectorSample[] }).result;
}
