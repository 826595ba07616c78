// The systems that benchmarks compare: Tidemark's all-in-one and Debian's prometheus and victoria-metrics, each on loopback
// with a folder of its own. CPU and memory come from /proc, of the very process.
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { answers, findProgram, freePort, repositoryRoot, waitFor } from '../test/support/programs.ts';

export type SystemName = 'tidemark' | 'prometheus' | 'victoria-metrics';

export interface System {
  readonly name: SystemName;
  readonly url: string;
  readonly pid: number;
  /** Its folder on disk. */
  readonly folder: string;
  /** Everything it was sent is in its long-term form on disk afterwards, as far as the system can be asked to. */
  readonly settle: () => Promise<void>;
  /** With SIGKILL unless told otherwise. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<void>;
}

export interface SystemOptions {
  /** Text of prometheus.yml. */
  readonly config?: string;
  /** Flags of node itself, where the system runs on it. */
  readonly nodeFlags?: readonly string[];
  /** Where Tidemark's sources are, to compare two versions; this repository by default. */
  readonly tree?: string;
}

/** What is on this machine. */
export function availableSystems(): SystemName[] {
  const found: SystemName[] = ['tidemark'];
  if (findProgram('prometheus') !== undefined) found.push('prometheus');
  if (findProgram('victoria-metrics') !== undefined) found.push('victoria-metrics');
  return found;
}

/** Starts a system and waits until it answers. */
export async function startSystem(name: SystemName, options: SystemOptions = {}): Promise<System> {
  const folder = mkdtempSync(path.join(tmpdir(), `bench-${name}-`));
  const port = await freePort();
  const { command, args } = commandOf(name, folder, port, options);
  const child = spawn(command, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (piece: Buffer) => {
    errors = (errors + piece.toString()).slice(-8192);
  });
  const url = `http://127.0.0.1:${port}`;
  const health = name === 'victoria-metrics' ? '/health' : '/-/ready';
  await waitFor(`${name} ready`, () => answers(url + health), {
    describe: () => errors,
    timeoutMs: 60_000,
  }).catch((caught) => {
    child.kill('SIGKILL');
    throw caught;
  });
  return {
    name,
    url,
    pid: child.pid ?? -1,
    folder,
    settle: () => settle(name, url),
    stop: async (signal = 'SIGKILL') => {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function commandOf(
  name: SystemName,
  folder: string,
  port: number,
  options: SystemOptions,
): { command: string; args: string[] } {
  const address = `127.0.0.1:${port}`;
  const config = path.join(folder, 'prometheus.yml');
  const storage = path.join(folder, 'data');
  mkdirSync(storage);
  writeFileSync(config, options.config ?? 'global: {}\n');
  switch (name) {
    case 'tidemark':
      return {
        command: process.execPath,
        args: [
          ...(options.nodeFlags ?? []),
          path.join(options.tree ?? repositoryRoot, 'services/all-in-one/main.ts'),
          `--config.file=${config}`,
          `--data.dir=${storage}`,
          `--web.listen-address=${address}`,
          '--web.enable-admin-api',
          // The others are asked past their caches, too. Another version may have none.
          ...(options.tree === undefined ? ['--query.result-cache-size=0'] : []),
        ],
      };
    case 'prometheus':
      return {
        command: findProgram(name)!,
        args: [
          `--config.file=${config}`,
          `--storage.tsdb.path=${storage}`,
          `--web.listen-address=${address}`,
          '--web.enable-remote-write-receiver',
        ],
      };
    case 'victoria-metrics':
      return {
        command: findProgram(name)!,
        args: [
          `-httpListenAddr=${address}`,
          `-storageDataPath=${storage}`,
          '-search.disableCache',
          '-retentionPeriod=1y',
          ...(options.config === undefined ? [] : [`-promscrape.config=${config}`]),
        ],
      };
  }
}

async function settle(name: SystemName, url: string): Promise<void> {
  switch (name) {
    case 'tidemark':
      await mustAnswer(`${url}/api/v1/admin/tsdb/seal`, 'POST');
      return;
    case 'victoria-metrics':
      await mustAnswer(`${url}/internal/force_flush`, 'GET');
      await mustAnswer(`${url}/internal/force_merge`, 'GET');
      await new Promise((resolve) => setTimeout(resolve, 5000));
      return;
    case 'prometheus':
      // Prometheus makes blocks of whole two-hour ranges only; it cannot be asked to.
      return;
  }
}

/** How long a head keeps what stores have as well, for queries that began before: 2.5 minutes, and a look every half minute. */
const LET_GO_MS = 200_000;

/** Waits until queries read what was settled from disk alone. */
export async function untilOnDiskOnly({ name, url }: System): Promise<void> {
  if (name !== 'tidemark') return;
  const chunksInMemory = async (): Promise<number> => {
    const text = await mustAnswer(`${url}/api/v1/status/tsdb`, 'GET');
    return (JSON.parse(text) as { data: { headStats: { chunkCount: number } } }).data.headStats.chunkCount;
  };
  await waitFor('the head to let go of what is in blocks', async () => (await chunksInMemory()) === 0, {
    timeoutMs: LET_GO_MS,
  });
}

async function mustAnswer(url: string, method: string): Promise<string> {
  const response = await fetch(url, { method });
  const text = await response.text();
  if (response.ok) return text;
  throw new Error(`${method} ${url}: ${response.status} ${text}`);
}

/** Resident memory, bytes. */
export function residentBytesOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

/** Bytes of all files below a folder. */
export function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0;
  let sum = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    try {
      sum += statSync(path.join(entry.parentPath, entry.name)).size;
    } catch {
      // Merged away since it was listed.
    }
  }
  return sum;
}

/** Where a system keeps its long-term data. */
export function blocksFolderOf(system: System): string {
  return path.join(system.folder, 'data', system.name === 'tidemark' ? 'blocks' : '');
}
