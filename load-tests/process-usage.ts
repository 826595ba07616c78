// CPU and memory of server processes, from /proc: what a load test charges to the server.
import { readFileSync } from 'node:fs';

/** Linux counts CPU time in hundredths of a second on every machine that we know. */
const TICKS_PER_SECOND = 100;

export interface ProcessUsage {
  /** User and system time since the processes began, seconds, summed. */
  readonly cpuSeconds: number;
  /** Resident memory, bytes, summed. */
  readonly residentBytes: number;
}

/**
 * What the processes have used so far. One that has ended counts as nothing.
 */
export function usageOf(pids: readonly number[]): ProcessUsage {
  let cpuSeconds = 0;
  let residentBytes = 0;
  for (const pid of pids) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // Fields after the command's name, which may hold blanks: state is the first.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      cpuSeconds += (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      residentBytes += Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
    } catch {
      // Gone.
    }
  }
  return { cpuSeconds, residentBytes };
}

/** `12,34` as numbers. */
export function parsePids(text: string): readonly number[] {
  return text
    .split(',')
    .filter((part) => part.trim() !== '')
    .map((part) => {
      const pid = Number(part);
      if (!Number.isInteger(pid) || pid < 1)
        throw new Error(`--pids: ${JSON.stringify(part)} is not a process id`);
      return pid;
    });
}
