// `tidemark block` on real blocks: what it prints, what it finds wrong, how it ends.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import { Labels } from '../../lib/model/labels.ts';
import { runBlockCommand } from './block-command.ts';

const STALE: TestSample = [3000, 2, 0x7ff00000];
/** 1.0 and 2.5 as words. */
const SAMPLES: readonly TestSample[] = [[1000, 0, 0x3ff00000], [2000, 0, 0x40040000], STALE];
let dir: string;

beforeEach(async () => {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  dir = path.join(folder.path, 'block');
  const labels = (job: string) =>
    Labels.from([
      ['__name__', 'up'],
      ['job', job],
    ]);
  await buildBlock(dir, [seriesOf(labels('a'), SAMPLES), seriesOf(labels('b'), SAMPLES.slice(0, 1))]);
});

async function run(...argv: string[]) {
  let out = '';
  let complaints = '';
  const exitCode = await runBlockCommand(argv, {
    write: async (text) => {
      out += text;
    },
    complain: (text) => {
      complaints += text;
    },
  });
  return { exitCode, out, complaints };
}

test('inspect says what a block holds', async () => {
  const { exitCode, out } = await run('inspect', dir);
  expect(exitCode).toBe(0);
  expect(out).toContain('series     2 with 4 samples in 2 chunks');
  expect(out).toContain('1970-01-01T00:00:01.000Z to 1970-01-01T00:00:03.000Z');
  expect(out).toMatch(/^job +2$/m);
  expect(out).toMatch(/^up +2$/m);
  expect(out).toMatch(/^series +\d+ +\d+ +1$/m);
});

test('verify finds a whole block whole, also by a file in it', async () => {
  const { exitCode, out } = await run('verify', dir, path.join(dir, 'index'));
  expect(exitCode).toBe(0);
  expect(out.match(/whole; 2 series, 2 chunks, 4 samples, 4 postings/g)).toHaveLength(2);
});

test('verify finds a flipped bit anywhere in the three files', async () => {
  for (const name of ['meta.json', 'index', 'chunks']) {
    const file = path.join(dir, name);
    const bytes = readFileSync(file);
    for (let at = 0; at < bytes.length; at += 7) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 1 << (at % 8);
      writeFileSync(file, damaged);
      expect(await run('verify', dir), `${name} byte ${at}`).toMatchObject({ exitCode: 1, out: '' });
    }
    writeFileSync(file, bytes);
  }
  expect((await run('verify', dir)).exitCode).toBe(0);
});

test('dump as OpenMetrics', async () => {
  const { exitCode, out } = await run('dump', dir);
  expect(exitCode).toBe(0);
  expect(out.trimEnd().split('\n')).toEqual([
    'up{job="a"} 1 1',
    'up{job="a"} 2.5 2',
    'up{job="a"} NaN 3',
    'up{job="b"} 1 1',
    '# EOF',
  ]);
});

test('dump as JSON lines keeps every bit', async () => {
  const { out } = await run('dump', '--format=jsonl', dir);
  expect(
    out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    {
      labels: { __name__: 'up', job: 'a' },
      timestamps: [1000, 2000, 3000],
      values: ['1', '2.5', 'NaN:7ff0000000000002'],
    },
    { labels: { __name__: 'up', job: 'b' }, timestamps: [1000], values: ['1'] },
  ]);
});

test.each([
  [[], 2],
  [['--help'], 0],
  [['polish', 'x'], 2],
  [['verify'], 2],
  [['verify', '--all', 'x'], 2],
  [['inspect', '--format=jsonl', 'x'], 2],
  [['verify', '/nonexistent/block'], 1],
])('%j ends with %d', async (argv, exitCode) => {
  expect((await run(...argv)).exitCode).toBe(exitCode);
});

test('of an evicted block verify reads what is here, and says where the chunks are', async () => {
  rmSync(path.join(dir, 'chunks'));
  expect((await run('verify', dir)).complaints).toMatch(/chunks/);
  writeFileSync(path.join(dir, 'evicted.json'), '{"version":1,"from":"s3://blocks/prod/"}\n');
  expect(await run('verify', dir)).toEqual({
    ...{ exitCode: 0, complaints: '' },
    out: `${dir}: evicted, its chunks are in s3://blocks/prod/; index whole; 2 series, 2 chunks, 4 samples\n`,
  });
  for (const action of ['dump', 'inspect'])
    expect(await run(action, dir)).toMatchObject({
      exitCode: 1,
      complaints: expect.stringContaining(
        `evicted, its chunks are in s3://blocks/prod/; bring them here to ${action} it`,
      ),
    });
  const index = readFileSync(path.join(dir, 'index'));
  index[index.length >> 1]! ^= 4;
  writeFileSync(path.join(dir, 'index'), index);
  expect(await run('verify', dir)).toMatchObject({
    exitCode: 1,
    complaints: expect.stringMatching(/index is corrupt: its CRC is/),
  });
});
