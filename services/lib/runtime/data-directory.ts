// The data directory as a whole: one process at a time, and what was fixed when it was made (its number of partitions).
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { AppError } from '../core/errors.ts';

const LOCK_FILE = 'lock';
const CLUSTER_FILE = 'cluster.json';

/** What is fixed when a cluster's data directory is made. */
export interface ClusterIdentity {
  readonly clusterName: string;
  readonly partitionCount: number;
}

/**
 * Makes and locks the data directory.
 *
 * @returns the function that gives the lock back.
 * @throws AppError `failed_precondition` when a live process holds it.
 */
export function lockDataDirectory(directory: string): () => void {
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, LOCK_FILE);
  const holder = readText(file);
  if (holder !== undefined && isAlive(holder)) {
    throw new AppError(
      'failed_precondition',
      `the data directory ${directory} is in use by process ${holder.split(' ')[0]}; stop it, or choose another --data.dir`,
    );
  }
  const own = `${process.pid} ${startTimeOf(process.pid) ?? ''}`;
  writeDurably(file, own);
  return () => {
    if (readText(file) === own) rmSync(file, { force: true });
  };
}

/** A holder is alive when a process with its pid was started at the same time. */
function isAlive(holder: string): boolean {
  const [pidText = '', startedAt = ''] = holder.split(' ');
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  const current = startTimeOf(pid);
  if (current !== undefined) return current === startedAt;
  try {
    process.kill(pid, 0);
    return startedAt === '';
  } catch {
    return false;
  }
}

/** Start time of a process in clock ticks since boot; undefined where there is no /proc or no such process. */
function startTimeOf(pid: number): string | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/**
 * Compares with what the directory was made with, or writes it down the first time.
 *
 * @throws AppError `failed_precondition` when the number of partitions differs: it decides where every series lives.
 */
export function checkClusterIdentity(directory: string, wanted: ClusterIdentity): void {
  const file = path.join(directory, CLUSTER_FILE);
  const text = readText(file);
  if (text === undefined) {
    writeDurably(file, `${JSON.stringify(wanted, undefined, 2)}\n`);
    return;
  }
  const found = JSON.parse(text) as ClusterIdentity;
  if (found.partitionCount !== wanted.partitionCount) {
    throw new AppError(
      'failed_precondition',
      `${file}: the cluster was made with --cluster.partitions=${found.partitionCount}, ` +
        `not ${wanted.partitionCount}; the number is fixed for the life of the data`,
    );
  }
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function writeDurably(file: string, text: string): void {
  const temporary = `${file}.tmp`;
  const descriptor = openSync(temporary, 'w');
  writeSync(descriptor, text);
  fsyncSync(descriptor);
  closeSync(descriptor);
  renameSync(temporary, file);
  const folder = openSync(path.dirname(file), 'r');
  fsyncSync(folder);
  closeSync(folder);
}
