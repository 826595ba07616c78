import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { checkClusterIdentity, lockDataDirectory } from './data-directory.ts';

const fresh = () => mkdtempSync(path.join(tmpdir(), 'tidemark-data-'));

test('a live holder keeps others out, a dead one does not', async () => {
  const directory = fresh();
  const holder = spawn(process.execPath, [
    '--input-type=module',
    '-e',
    `import { lockDataDirectory } from ${JSON.stringify(import.meta.resolve('./data-directory.ts'))};
     lockDataDirectory(${JSON.stringify(directory)}); console.log('locked'); setInterval(() => {}, 1000);`,
  ]);
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  expect(() => lockDataDirectory(directory)).toThrow(`in use by process ${holder.pid}`);
  holder.kill('SIGKILL');
  await new Promise((resolve) => holder.once('exit', resolve));
  lockDataDirectory(directory)();
});

test('a pid that was given to another process since is no holder', () => {
  const directory = fresh();
  writeFileSync(path.join(directory, 'lock'), `${process.ppid} 1`);
  lockDataDirectory(directory)();
});

test('the number of partitions is fixed at the first start', () => {
  const directory = fresh();
  checkClusterIdentity(directory, { clusterName: 'a', partitionCount: 64 });
  checkClusterIdentity(directory, { clusterName: 'a', partitionCount: 64 });
  expect(() => checkClusterIdentity(directory, { clusterName: 'a', partitionCount: 32 })).toThrow(
    /made with --cluster\.partitions=64, not 32/,
  );
});
