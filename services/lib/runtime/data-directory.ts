// The data directory as a whole: one process at a time, and what was fixed when it was made (its number of partitions).
import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { errorCodeOf } from '../core/disk.ts';
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
  makeDurableFolder(path.resolve(directory));
  const file = path.join(directory, LOCK_FILE);
  const holder = readText(file);
  if (holder !== undefined && isAlive(holder)) {
    throw new AppError(
      'failed_precondition',
      `the data directory ${directory} is in use by process ${holder.split(' ')[0]}; stop it, or choose another --data.dir`,
    );
  }
  const own = `${process.pid} ${startTimeOf(process.pid) ?? ''}`;
  try {
    writeDurably(file, own);
  } catch (caught) {
    // A killed process left its lock: that file has room on a full disk too, where reads have to go on.
    if (holder === undefined || errorCodeOf(caught) !== 'ENOSPC') throw caught;
    rmSync(`${file}.tmp`, { force: true });
    overwrite(file, own);
  }
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

function makeDurableFolder(folder: string): void {
  const topmost = mkdirSync(folder, { recursive: true });
  if (topmost === undefined) return;
  for (let made = folder; made.length >= topmost.length; made = path.dirname(made))
    syncFolder(path.dirname(made));
}

function overwrite(file: string, text: string): void {
  const descriptor = openSync(file, 'r+');
  try {
    ftruncateSync(descriptor, writeSync(descriptor, text, 0));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Replaces a small file at once; durable when it returns. */
export function writeDurably(file: string, text: string): void {
  const temporary = `${file}.tmp`;
  const descriptor = openSync(temporary, 'w');
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(temporary, file);
  syncFolder(path.dirname(file));
}

function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}
