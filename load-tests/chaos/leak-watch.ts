// Whether processes keep more and more of anything (RELIABILITY R40): resident memory, file descriptors, sockets and timers of each,
// looked at when the cluster is at rest. A process that was started again is another one.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface Usage {
  readonly rssMib: number;
  readonly fds: number;
  readonly sockets: number;
  readonly timers: number;
}

const KINDS = ['rssMib', 'fds', 'sockets', 'timers'] as const satisfies readonly (keyof Usage)[];
/** What may come on top between the middle third of a life and its last third: more is a leak. Memory: caches fill, heaps breathe. */
const GROWTH_MAX: Usage = { rssMib: 96, fds: 24, sockets: 16, timers: 48 };
/** Relative growth that is none: of memory, which samples need. */
const GROWTH_SHARE_MAX = 0.25;
/** Younger processes tell nothing. */
const LOOKS_MIN = 9;

interface Life {
  readonly name: string;
  readonly bornMs: number;
  readonly atMs: number[];
  readonly looks: Usage[];
}

export interface Watched {
  readonly name: string;
  readonly pid: number;
  /** Of its HTTP server. */
  readonly url: string;
}

export class LeakWatch {
  readonly #lives = new Map<number, Life>();

  /** Looks at each process once; who is gone, or does not answer, is passed over. */
  async look(processes: readonly Watched[]): Promise<void> {
    for (const { name, pid, url } of processes) {
      const usage = await usageOf(pid, url).catch(() => undefined);
      if (usage === undefined) continue;
      const nowMs = performance.now();
      const life = this.#lives.get(pid) ?? { name, bornMs: nowMs, atMs: [], looks: [] };
      this.#lives.set(pid, life);
      life.atMs.push(nowMs);
      life.looks.push(usage);
    }
  }

  /** A line for each process that lived long enough, and what leaked. */
  report(): { lines: string[]; leaks: string[] } {
    const lines: string[] = [];
    const leaks: string[] = [];
    for (const [pid, { name, bornMs, atMs, looks }] of this.#lives) {
      if (looks.length < LOOKS_MIN) continue;
      const minutes = (atMs.at(-1)! - bornMs) / 60_000;
      const parts = KINDS.map((kind) => {
        const values = looks.map((usage) => usage[kind]);
        const third = Math.floor(values.length / 3);
        const [middle, last] = [medianOf(values.slice(third, 2 * third)), medianOf(values.slice(-third))];
        if (last - middle > Math.max(GROWTH_MAX[kind], kind === 'rssMib' ? GROWTH_SHARE_MAX * middle : 0))
          leaks.push(`${name} (${pid}): ${kind} ${middle} → ${last} in ${minutes.toFixed(0)} min`);
        return `${kind} ${values[0]} → ${last} (${(60 * slopeOf(atMs, values)).toFixed(1)}/h)`;
      });
      lines.push(`usage ${name} (${pid}, ${minutes.toFixed(1)} min): ${parts.join(', ')}`);
    }
    return { lines, leaks };
  }
}

async function usageOf(pid: number, url: string): Promise<Usage> {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const folder = `/proc/${pid}/fd`;
  const links = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`);
    } catch {
      return '';
    }
  });
  const metrics = await (await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) })).text();
  return {
    rssMib: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) >> 10,
    fds: links.length,
    sockets: links.filter((link) => link.startsWith('socket:')).length,
    timers: Number(/^nodejs_active_resources\{[^}]*type="Timeout"[^}]*\} (\d+)/m.exec(metrics)?.[1] ?? 0),
  };
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Least squares, per minute. */
function slopeOf(atMs: readonly number[], values: readonly number[]): number {
  const mean = (all: readonly number[]): number => all.reduce((sum, value) => sum + value, 0) / all.length;
  const [meanAt, meanValue] = [mean(atMs), mean(values)];
  let [over, under] = [0, 0];
  for (const [i, at] of atMs.entries()) {
    over += (at - meanAt) * (values[i]! - meanValue);
    under += (at - meanAt) ** 2;
  }
  return under === 0 ? 0 : (over / under) * 60_000;
}
