// Bad input at every door of the running process: each gets its documented error, memory stays flat, the process goes on.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { startProcess } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi, freshFolder, queryInstant, startTidemark } from '../support/tidemark.ts';

const GROWTH_MIB_MAX = 64;

const residentMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

test('a configuration with an unknown key: the process says where and what was meant, and ends', async () => {
  const folder = freshFolder();
  const file = path.join(folder, 'prometheus.yml');
  writeFileSync(file, 'global:\n  scrape_interval: 15s\n  scrape_timeot: 10s\n');
  const running = startProcess(process.execPath, [
    path.join(repositoryRoot, 'services/all-in-one/main.ts'),
    `--config.file=${file}`,
    `--data.dir=${path.join(folder, 'data')}`,
    '--web.listen-address=127.0.0.1:0',
  ]);
  await waitFor('the end of the process', () => Promise.resolve(running.exited() !== undefined));
  expect(running.exited()).toBe(1);
  expect(running.output()).toMatch(/3:3/);
  expect(running.output()).toMatch(/scrape_timeot/);
  expect(running.output()).toMatch(/scrape_timeout/);
});

test('an unknown flag ends with a suggestion', async () => {
  const running = startProcess(process.execPath, [
    path.join(repositoryRoot, 'services/all-in-one/main.ts'),
    '--storage.tsdb.pth=/nowhere',
  ]);
  await waitFor('the end of the process', () => Promise.resolve(running.exited() !== undefined));
  expect(running.exited()).toBe(2);
  expect(running.output()).toContain('did you mean --storage.tsdb.path?');
});

test('bad requests to a running process', { timeout: 120_000 }, async () => {
  const server = await startTidemark({
    flags: ['--query.max-samples=1000', '--web.enable-lifecycle'],
    config: 'global: { external_labels: { first: "yes" } }\n',
  });
  const now = Date.now();
  const series = Array.from({ length: 300 }, (_, i) => ({
    labels: { __name__: 'm', i: String(i) },
    samples: Array.from({ length: 10 }, (_sample, j) => [now - j * 1000, j] as [number, number]),
  }));
  expect((await postWrite(server.url, snappyLiterals(encodeWriteRequest(series)))).status).toBe(204);
  const before = residentMib(server.pid);

  const garbage = await postWrite(server.url, Buffer.from('this is no snappy block'));
  expect(garbage.status).toBe(400);
  const wrongProto = await postWrite(
    server.url,
    snappyLiterals(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f, 1])),
  );
  expect(wrongProto.status).toBe(400);
  expect(wrongProto.text).not.toBe('');

  const claims4GiB = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
  const bombs = await Promise.all(Array.from({ length: 100 }, () => postWrite(server.url, claims4GiB)));
  expect(new Set(bombs.map((bomb) => bomb.status))).toEqual(new Set([413]));
  expect(bombs[0]!.text).toMatch(/4294967295/);

  expect((await postWrite(server.url, Buffer.alloc(10), { 'content-encoding': 'br' })).status).toBe(415);
  expect((await postWrite(server.url, Buffer.alloc(10), { 'content-type': 'text/plain' })).status).toBe(415);

  const unsorted = await postWrite(
    server.url,
    snappyLiterals(encodeWriteRequest([{ labels: { job: 'no metric name' }, samples: [[now, 1]] }])),
  );
  expect(unsorted.status).toBe(400);
  const future = await postWrite(
    server.url,
    snappyLiterals(encodeWriteRequest([{ labels: { __name__: 'late' }, samples: [[now + 3_600_000, 1]] }])),
  );
  expect(future.status).toBe(400);
  expect(future.text).toMatch(/late/);

  const syntax = await callApi(server.url, 'query', { query: 'sum(rate(m[5m]) by (' });
  expect(syntax.httpStatus).toBe(400);
  expect(syntax.body.errorType).toBe('bad_data');
  expect(syntax.body.error).toMatch(/1:\d+: parse error: /);

  const limit = await callApi(server.url, 'query', { query: 'm[1m]' });
  expect(limit.httpStatus).toBe(422);
  expect(limit.body.errorType).toBe('execution');
  expect(limit.body.error).toMatch(/too many samples/);

  for (const [endpoint, parameters, error] of [
    ['query', {}, 'invalid parameter "query"'],
    ['query_range', { query: 'm', start: 'x', end: '1', step: '1' }, 'invalid parameter "start"'],
    [
      'query_range',
      { query: 'm', start: '0', end: '1', step: '0' },
      'zero or negative query resolution step',
    ],
    ['query_range', { query: 'm', start: '0', end: '100000', step: '1' }, 'exceeded maximum resolution'],
    ['series', {}, 'no match[] parameter provided'],
  ] as const) {
    const answer = await callApi(server.url, endpoint, parameters);
    expect([answer.httpStatus, answer.body.errorType], endpoint).toEqual([400, 'bad_data']);
    expect(answer.body.error).toContain(error);
  }

  expect(residentMib(server.pid) - before).toBeLessThan(GROWTH_MIB_MAX);
  expect(server.exited()).toBeUndefined();
  expect(await queryInstant(server.url, 'count(m)')).toMatchObject([{ value: [expect.any(Number), '300'] }]);
});

test('a bad file on reload keeps the old configuration and says why', async () => {
  const server = await startTidemark({
    config: 'global: { external_labels: { first: "yes" } }\n',
    flags: ['--web.enable-lifecycle'],
  });
  const file = server.configFile;
  writeFileSync(file, 'global: { scrape_intervall: 1s }\n');
  const refused = await fetch(`${server.url}/-/reload`, { method: 'POST' });
  expect(refused.status).toBe(500);
  expect(await refused.text()).toMatch(/scrape_intervall/);
  const shown = await callApi(server.url, 'status/config', {});
  expect(JSON.stringify(shown.body.data)).toContain('first');
  writeFileSync(file, 'global: { external_labels: { second: "yes" } }\n');
  expect((await fetch(`${server.url}/-/reload`, { method: 'POST' })).status).toBe(200);
  expect(JSON.stringify((await callApi(server.url, 'status/config', {})).body.data)).toContain('second');
});
