// Deletes and snapshots of a whole process: what is in the head and what is in blocks goes at once, stays away after a
// kill, what is written later stays, and a snapshot is a data directory.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { queryRange, startTidemark, type Tidemark } from '../support/tidemark.ts';

const ADMIN = ['--web.enable-admin-api'];
const nowMs = Math.floor(Date.now() / 60_000) * 60_000;

async function start(options: Parameters<typeof startTidemark>[0] = {}): Promise<Tidemark> {
  const tidemark = await startTidemark({ flags: ADMIN, ...options });
  onTestFinished(() => tidemark.end('SIGKILL'));
  return tidemark;
}

const post = (url: string, call: string, parameters: Record<string, string> = {}) =>
  fetch(`${url}/api/v1/admin/tsdb/${call}?${new URLSearchParams(parameters).toString()}`, { method: 'POST' });

/** Writes a sample a minute for the last hour, of value `value`. */
async function write(url: string, job: string, value: number, offsetMs = 0): Promise<void> {
  const samples = Array.from({ length: 60 }, (_, i): [number, number] => [
    nowMs - (59 - i) * 60_000 + offsetMs,
    value,
  ]);
  const body = snappyLiterals(encodeWriteRequest([{ labels: { __name__: 'up', job }, samples }]));
  expect(await sendWrite(url, body)).toBe(204);
}

/** Samples per job in the last hours, by a count over all of them. */
async function counted(url: string): Promise<Record<string, number>> {
  const end = nowMs / 1000 + 60;
  const found = await queryRange(url, 'count_over_time(up[3h])', end, end, 60);
  return Object.fromEntries(found.map(({ metric, values }) => [metric.job!, Number(values[0]![1])]));
}

test('the admin API is off unless it is asked for', async () => {
  const tidemark = await start({ flags: [] });
  for (const call of ['delete_series', 'clean_tombstones', 'snapshot']) {
    const response = await post(tidemark.url, call, { 'match[]': 'up' });
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({
      status: 'error',
      errorType: 'unavailable',
      error: 'admin APIs disabled',
    });
  }
});

test('deletes reach head and blocks, outlive a kill, and spare what is written later', async () => {
  const first = await start();
  await write(first.url, 'a', 1);
  await write(first.url, 'b', 1);
  expect(await counted(first.url)).toEqual({ a: 60, b: 60 });

  const bad = await post(first.url, 'delete_series');
  expect(bad.status).toBe(400);
  expect(await bad.json()).toMatchObject({ errorType: 'bad_data', error: 'no match[] parameter provided' });

  const start_ = String(nowMs / 1000 - 29 * 60);
  const half = await post(first.url, 'delete_series', { 'match[]': 'up{job="a"}', start: start_ });
  expect([half.status, await half.text()]).toEqual([204, '']);
  expect(half.headers.get('Tidemark-Delete-Id')).toMatch(/^[0-9a-f]{32}$/);
  expect(await counted(first.url)).toEqual({ a: 30, b: 60 });

  await first.end('SIGKILL');
  const second = await start({ dataDir: first.dataDir });
  expect(await counted(second.url)).toEqual({ a: 30, b: 60 });
  await write(second.url, 'a', 2, 1000);
  expect(await counted(second.url)).toEqual({ a: 90, b: 60 });

  expect((await post(second.url, 'seal')).status).toBe(200);
  expect(await counted(second.url)).toEqual({ a: 90, b: 60 });
  const whole = await post(second.url, 'delete_series', { 'match[]': 'up{job="b"}' });
  expect(whole.status).toBe(204);
  expect(await counted(second.url)).toEqual({ a: 90 });
  const listed = (await (await fetch(`${second.url}/api/v1/admin/tsdb/deletes`)).json()) as {
    data: { id: string; match: string }[];
  };
  const own = listed.data.find(({ match }) => match.includes('"b"'))!;
  expect((await post(second.url, 'undo_delete', { id: own.id })).status).toBe(200);
  expect(await counted(second.url)).toEqual({ a: 90, b: 60 });
  expect((await post(second.url, 'undo_delete', { id: own.id })).status).toBe(404);
}, 120_000);

test('a snapshot starts as a data directory, with the head or without it', async () => {
  const tidemark = await start();
  await write(tidemark.url, 'a', 1);
  expect((await post(tidemark.url, 'seal')).status).toBe(200);
  await write(tidemark.url, 'b', 1);
  const take = async (parameters: Record<string, string>) => {
    const response = await post(tidemark.url, 'snapshot', parameters);
    expect(response.status).toBe(200);
    const { data } = (await response.json()) as { data: { name: string } };
    expect(data.name).toMatch(/^\d{8}T\d{6}Z-[0-9a-f]{16}$/);
    return path.join(tidemark.dataDir, 'snapshots', data.name);
  };
  const blocksOnly = await take({ skip_head: 'true' });
  const whole = await take({});
  expect((await post(tidemark.url, 'snapshot', { skip_head: 'maybe' })).status).toBe(400);
  expect(readdirSync(path.join(tidemark.dataDir, 'snapshots'))).toHaveLength(2);
  await post(tidemark.url, 'delete_series', { 'match[]': '{job=~".+"}' });
  await post(tidemark.url, 'clean_tombstones');
  expect(await counted(tidemark.url)).toEqual({});
  const one = await start({ dataDir: blocksOnly });
  expect(await counted(one.url)).toEqual({ a: 60 });
  const other = await start({ dataDir: whole });
  expect(await counted(other.url)).toEqual({ a: 60, b: 60 });
}, 120_000);
