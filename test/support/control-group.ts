// A control group with limits of memory and processor time, as a container has them, for processes of tests. Version 1 and 2.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export interface ControlGroupOptions {
  readonly memoryBytes: number;
  /** Processors, or a part of one. Default: no limit. */
  readonly processors?: number;
}

export interface ControlGroup {
  /** Stands before a command that is to run in the group. */
  readonly prefix: readonly string[];
  /** How many processes of it the kernel has killed for want of memory. */
  readonly kills: () => number;
  /** The most bytes that it ever had, caches of files included. */
  readonly peakBytes: () => number;
  /** When all its processes are gone. */
  readonly remove: () => void;
}

const ROOT = '/sys/fs/cgroup';
const PERIOD_US = 20_000;
const numberIn = (file: string, pattern = /(\d+)/): number =>
  Number(pattern.exec(readFileSync(file, 'utf8'))?.[1] ?? 0);

/** Undefined where this process may not make one. */
export function makeControlGroup(options: ControlGroupOptions): ControlGroup | undefined {
  const name = `tidemark-test-${process.pid}-${Math.floor(performance.now())}`;
  try {
    return existsSync(path.join(ROOT, 'memory')) ? makeVersion1(name, options) : makeVersion2(name, options);
  } catch {
    return undefined;
  }
}

/** Enters the groups, then becomes the command: its process id stays. */
function prefixFor(folders: readonly string[]): string[] {
  const enter = folders.map((folder) => `echo $$ > ${folder}/cgroup.procs`).join(' && ');
  return ['/bin/sh', '-c', `${enter} && exec "$@"`, 'sh'];
}

function makeVersion1(name: string, { memoryBytes, processors }: ControlGroupOptions): ControlGroup {
  const memory = path.join(ROOT, 'memory', name);
  mkdirSync(memory);
  writeFileSync(path.join(memory, 'memory.limit_in_bytes'), String(memoryBytes));
  const folders = [memory];
  if (processors !== undefined) {
    const cpu = path.join(ROOT, 'cpu', name);
    mkdirSync(cpu);
    folders.push(cpu);
    writeFileSync(path.join(cpu, 'cpu.cfs_period_us'), String(PERIOD_US));
    writeFileSync(path.join(cpu, 'cpu.cfs_quota_us'), String(Math.round(PERIOD_US * processors)));
  }
  return {
    prefix: prefixFor(folders),
    kills: () => numberIn(path.join(memory, 'memory.oom_control'), /oom_kill (\d+)/),
    peakBytes: () => numberIn(path.join(memory, 'memory.max_usage_in_bytes')),
    remove: () => {
      for (const folder of folders) rmdirSync(folder);
    },
  };
}

function makeVersion2(name: string, { memoryBytes, processors }: ControlGroupOptions): ControlGroup {
  const folder = path.join(ROOT, name);
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'memory.max'), String(memoryBytes));
  if (processors !== undefined) {
    writeFileSync(path.join(folder, 'cpu.max'), `${Math.round(PERIOD_US * processors)} ${PERIOD_US}`);
  }
  return {
    prefix: prefixFor([folder]),
    kills: () => numberIn(path.join(folder, 'memory.events'), /oom_kill (\d+)/),
    peakBytes: () => numberIn(path.join(folder, 'memory.peak')),
    remove: () => rmdirSync(folder),
  };
}
