// `tidemark import` and `tidemark export` against real processes: a data directory of Debian's Prometheus 2.42, with a block, a
// log and native histograms, gives the same answers here; what is exported gives them again elsewhere.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { hasPrograms, startProcess } from '../support/process.ts';
import { findProgram, repositoryRoot, waitFor } from '../support/programs.ts';
import {
  ask,
  body,
  FLOAT_QUERIES,
  HISTOGRAM_QUERIES,
  JITTER_MS,
  load,
  MINUTE_MS,
  SELECTORS,
  STEP_MS,
  startPrometheus,
} from '../support/prometheus-data.ts';
import { doubleField, field, labelV1, sample, varintField } from '../support/remote-write-encoder.ts';
import { callApi, freshFolder, startTidemark } from '../support/tidemark.ts';

async function tidemark(...args: readonly string[]): Promise<{ code: number | string; output: string }> {
  const running = startProcess(process.execPath, [
    path.join(repositoryRoot, 'services/gateway/tidemark.ts'),
    ...args,
  ]);
  const code = await waitFor('the command ends', async () => running.exited()?.toString(), {
    timeoutMs: 60_000,
    describe: running.output,
  });
  return { code: Number(code), output: running.output() };
}

/** An hour in a block (a snapshot makes one), ten minutes in the log only. */
async function makeDirectory(
  baseMs: number,
  options: Parameters<typeof startPrometheus>[0] = {},
): Promise<{ url: string; dir: string; end: () => Promise<void> }> {
  const prometheus = await startPrometheus(options);
  await load(prometheus.url, body(baseMs, 0, 400));
  await load(prometheus.url, body(baseMs, 400, 720));
  const response = await fetch(`${prometheus.url}/api/v1/admin/tsdb/snapshot`, { method: 'POST' });
  const { data } = (await response.json()) as { data: { name: string } };
  await load(prometheus.url, body(baseMs, 720, 840));
  return {
    url: prometheus.url,
    dir: path.join(prometheus.dataDir, 'snapshots', data.name),
    end: () => prometheus.end(),
  };
}

test.skipIf(!hasPrograms('prometheus'))(
  'a snapshot, then a data directory of Prometheus: the same answers; again: nothing changes; exported and imported: still',
  { timeout: 180_000 },
  async () => {
    const baseMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 80 * MINUTE_MS;
    const made = await makeDirectory(baseMs);
    const dataDir = path.dirname(path.dirname(made.dir));
    const early = [baseMs / 1000 + 1800.5, baseMs / 1000 + 3300.5];
    const late = [...early, baseMs / 1000 + 4000.5];
    const queries = [...FLOAT_QUERIES, ...HISTOGRAM_QUERIES];
    expect(queries.length).toBeGreaterThanOrEqual(50);
    const theirsEarly = await ask(made.url, queries, early);
    const deleted = new URLSearchParams({
      ...{
        'match[]': 'big{job="db"}',
        // Within the windows that are asked for below, and before the instants: seen once, 2.42 answered timestamp() of an instant in
        // between with a sample that it had deleted.
        start: String(baseMs / 1000 + 3000),
        end: String(baseMs / 1000 + 3100),
      },
    });
    const deletion = await fetch(`${made.url}/api/v1/admin/tsdb/delete_series?${deleted.toString()}`, {
      method: 'POST',
    });
    expect(deletion.status).toBe(204);
    const theirs = await ask(made.url, queries, late);
    expect(theirs).not.toEqual(expect.arrayContaining(theirsEarly));
    await made.end();

    const first = await startTidemark();
    const fromBlocks = await tidemark('import', 'prometheus', made.dir, `--url=${first.url}`);
    expect(fromBlocks).toEqual({ code: 0, output: expect.anything() });
    expect(await ask(first.url, queries, early)).toEqual(theirsEarly);

    // The log has the whole history here, and the delete behind it.
    const whole = await startTidemark();
    const fromLog = await tidemark('import', 'prometheus', dataDir, `--url=${whole.url}`, '--concurrency=2');
    expect(fromLog).toEqual({ code: 0, output: expect.anything() });
    expect(await ask(whole.url, queries, late)).toEqual(theirs);

    const again = await tidemark('import', 'prometheus', dataDir, `--url=${whole.url}`);
    expect(again.output).toContain('everything was imported before');
    const anew = await tidemark('import', 'prometheus', dataDir, `--url=${whole.url}`, '--restart');
    expect(anew).toEqual({ code: 0, output: expect.anything() });
    expect(anew.output).not.toContain('refused');
    expect(await ask(whole.url, queries, late)).toEqual(theirs);

    // Staleness markers are no samples for PromQL: where they stood the lookback of instants reaches further.
    const exported = path.join(freshFolder(), 'all.om');
    const range = ['--match={__name__=~".+"}', `--start=${baseMs / 1000}`, `--end=${baseMs / 1000 + 4300}`];
    const lines = await exportTo(exported, '--format=openmetrics', `--url=${whole.url}`, ...range);
    expect(lines.at(-1)).toBe('# EOF');
    const second = await startTidemark();
    expect(await tidemark('import', 'openmetrics', exported, `--url=${second.url}`)).toMatchObject({
      code: 0,
    });
    const stored = SELECTORS.flatMap((name) => [
      `${name}[90m]`,
      `rate(${name}[5m])`,
      `sum_over_time(${name}[20m])`,
    ]);
    const end = [baseMs / 1000 + 4300.5];
    expect(await ask(second.url, stored, end)).toEqual(await ask(whole.url, stored, end));

    const jsonl = await exportTo(
      path.join(freshFolder(), 'all.jsonl'),
      '--format=jsonl',
      `--url=${whole.url}`,
      ...range,
    );
    const parsed = jsonl.map(
      (line) =>
        JSON.parse(line) as { metric: Record<string, string>; values: unknown[]; timestamps: number[] },
    );
    const odd = parsed.find(({ metric }) => metric.__name__ === 'odd')!;
    expect(odd.values.slice(0, 4)).toEqual([null, 'Infinity', -0, 0.1 + 0.2]);
    expect(odd.timestamps[1]).toBe(baseMs + STEP_MS + JITTER_MS);
  },
);

/** Runs the command with its output in a file, as a shell would. */
async function exportTo(file: string, ...args: readonly string[]): Promise<string[]> {
  const command = [
    process.execPath,
    path.join(repositoryRoot, 'services/gateway/tidemark.ts'),
    'export',
    ...args,
  ];
  const running = startProcess('/bin/sh', ['-c', `exec "$@" > "$OUT"`, 'sh', ...command], {
    env: { OUT: file },
  });
  await waitFor('the export ends', async () => running.exited() !== undefined, {
    describe: running.output,
    timeoutMs: 60_000,
  });
  // Native histograms have no place in either form: the command says so by its exit code.
  expect(running.output()).toMatch(/^\d+ samples\n\d+ native histograms left out/);
  expect(running.exited()).toBe(1);
  return readFileSync(file, 'utf8').trimEnd().split('\n');
}

const SERIES = 60;
const HOURS = 12;
const INTERVAL_S = 15;

/** Blocks of two hours, made by promtool. */
async function makeBlocks(): Promise<{ dir: string; endS: number; samples: number }> {
  const folder = freshFolder();
  const endS = Math.floor(Date.now() / 1000 / 3600) * 3600 - 3600;
  const lines: string[] = ['# TYPE busy counter'];
  const count = (HOURS * 3600) / INTERVAL_S;
  for (let i = 0; i < SERIES; i++) {
    for (let at = count; at > 0; at--)
      lines.push(`busy_total{cpu="${i}"} ${(count - at) * i + 0.5} ${endS - at * INTERVAL_S}`);
  }
  const file = path.join(folder, 'busy.om');
  writeFileSync(file, `${lines.join('\n')}\n# EOF\n`);
  const dir = path.join(folder, 'data');
  const made = startProcess(findProgram('promtool')!, [
    'tsdb',
    'create-blocks-from',
    'openmetrics',
    file,
    dir,
  ]);
  await waitFor('promtool ends', async () => made.exited() !== undefined, {
    describe: made.output,
    timeoutMs: 60_000,
  });
  expect([made.exited(), made.output()]).toEqual([0, expect.anything()]);
  return { dir, endS, samples: SERIES * count };
}

async function countAt(url: string, time: number): Promise<number> {
  const { body: answer } = await callApi(url, 'query', {
    query: `sum(count_over_time(busy_total[${HOURS + 1}h]))`,
    time: String(time),
  });
  const { result } = answer.data as { result: { value: [number, string] }[] };
  return Number(result[0]?.value[1] ?? 0);
}

test.skipIf(!hasPrograms('prometheus', 'promtool'))(
  'an import that is killed goes on where it was; a damaged chunk is told and skipped',
  { timeout: 120_000 },
  async () => {
    const { dir, endS, samples } = await makeBlocks();
    const server = await startTidemark();
    const state = path.join(freshFolder(), 'state.json');
    const args = ['import', 'prometheus', dir, `--url=${server.url}`, `--state=${state}`];
    const command = [path.join(repositoryRoot, 'services/gateway/tidemark.ts'), ...args];
    const killed = startProcess(process.execPath, [...command, '--concurrency=1']);
    await waitFor(
      'a block is done',
      async () => existsSync(state) && readFileSync(state, 'utf8').includes('"isDone":true'),
      {
        describe: killed.output,
      },
    );
    await killed.end('SIGKILL');

    const resumed = await tidemark(...args);
    expect(resumed).toEqual({ code: 0, output: expect.stringMatching(/were done before/) });
    expect(await countAt(server.url, endS)).toBe(samples);

    // The state of another source, or none: all is read again, and one chunk is not whole any more.
    const block = readdirSync(dir).find((name) => name.length === 26)!;
    const file = path.join(dir, block, 'chunks', '000001');
    const bytes = readFileSync(file);
    bytes[bytes.length - 10]! ^= 1;
    writeFileSync(file, bytes);
    const fresh = await startTidemark();
    const damaged = await tidemark('import', 'prometheus', dir, `--url=${fresh.url}`, `--state=${state}`);
    expect(damaged.code).toBe(1);
    expect(damaged.output).toMatch(
      /skipped: .*000001: checksum 0x[0-9a-f]{8} of \d+ bytes, 0x[0-9a-f]{8} is written \(at offset \d+\)/,
    );
    expect(damaged.output).toContain('1 damaged parts were skipped');
    const there = await countAt(fresh.url, endS);
    expect(there).toBeLessThan(samples);
    expect(there).toBeGreaterThan(samples - 1000);
  },
);

test('a command line that cannot be understood, a source that is not there', async () => {
  expect(await tidemark('import', 'graphite', 'x')).toMatchObject({ code: 2 });
  expect(await tidemark('import', 'prometheus')).toMatchObject({ code: 2 });
  expect(await tidemark('export')).toMatchObject({ code: 2 });
  const empty = await tidemark('import', 'prometheus', freshFolder());
  expect(empty).toEqual({ code: 1, output: expect.stringMatching(/has neither blocks nor a folder wal/) });
});

test('an exact export, ended and taken up again, loses nothing: floats, markers, histograms, exemplars', async () => {
  const baseMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 80 * MINUTE_MS;
  const config = 'global: {external_labels: {cluster: eu}}\n';
  const first = await startTidemark({ config, flags: ['--enable-feature=exemplar-storage'] });
  onTestFinished(() => first.end());
  await load(first.url, body(baseMs, 0, 400));
  const exemplar = Buffer.concat([
    labelV1(['trace', 'abc']),
    doubleField(2, 0.25),
    varintField(3, baseMs + 10 * STEP_MS),
  ]);
  const name = labelV1(['__name__', 'with_exemplar_total']);
  await load(
    first.url,
    field(1, Buffer.concat([name, field(2, sample(7, baseMs + 10 * STEP_MS)), field(3, exemplar)])),
  );
  const range = [`--start=${baseMs / 1000}`, `--end=${baseMs / 1000 + 3600}`, `--url=${first.url}`];
  const file = path.join(freshFolder(), 'all.jsonl');
  const args = ['export', '--format=exact', "--match={__name__!=''}", ...range];
  const whole = await tidemark(...args, `--output=${file}`);
  // Four series of 400; of two the last but one is a staleness marker, which is one of all kinds.
  expect(whole.output).toMatch(/\d{4,} samples, 1598 native histograms, 1 exemplars/);
  expect(whole.code).toBe(0);
  const bytes = readFileSync(file);
  expect(bytes.toString()).not.toContain('cluster');
  expect(bytes.toString()).toContain('"stale"');
  // As if it had been ended within its second slice.
  const stateFile = `${file}.tidemark-export.json`;
  const state = JSON.parse(readFileSync(stateFile, 'utf8')) as { nextMs: number; bytes: number };
  expect(state).toMatchObject({ nextMs: baseMs + 3_600_001, bytes: bytes.length });
  writeFileSync(stateFile, JSON.stringify({ ...state, nextMs: baseMs, bytes: 0 }));
  writeFileSync(file, `${bytes.toString().slice(0, 5000)}{"metr`);
  expect((await tidemark(...args, `--output=${file}`)).code).toBe(0);
  expect(readFileSync(file).equals(bytes)).toBe(true);
  expect((await tidemark(...args, `--output=${file}`)).output).toContain('0 samples');
  const other = await tidemark('export', '--format=exact', '--match=up', ...range, `--output=${file}`);
  expect(other).toEqual({ code: 1, output: expect.stringContaining('is no part of this export') });

  const second = await startTidemark({ flags: ['--enable-feature=exemplar-storage'] });
  onTestFinished(() => second.end());
  const imported = await tidemark('import', 'exact', file, `--url=${second.url}`);
  expect(imported).toEqual({ code: 0, output: expect.anything() });
  const again = path.join(freshFolder(), 'again.jsonl');
  const back = await tidemark(...args.slice(0, -1), `--url=${second.url}`, `--output=${again}`);
  expect(back.code).toBe(0);
  expect(readFileSync(again, 'utf8')).toBe(bytes.toString());
  const at = [baseMs / 1000 + 1800.5];
  const queries = [...FLOAT_QUERIES, ...HISTOGRAM_QUERIES];
  expect(await ask(second.url, queries, at)).toEqual(await ask(first.url, queries, at));
  writeFileSync(again, '{"metric":{},"timestamps":[1],"values":[]}\n{"metric":1}\nx\n{"metric":{"a":"b"}');
  const damaged = await tidemark('import', 'exact', again, `--url=${second.url}`);
  expect(damaged.code).toBe(1);
  for (const words of ['1 timestamps, 0 values', 'there is no metric', 'not JSON', 'has no end'])
    expect(damaged.output).toContain(words);
}, 180_000);

test.skipIf(!hasPrograms('prometheus-3.14')).each(['xor', 'xor2'])(
  'a data directory of Prometheus 3.14, a block of %s chunks and its log: the same answers',
  async (floats) => {
    const baseMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 80 * MINUTE_MS;
    const config = `storage: {tsdb: {chunk_encoding: {floats: ${floats}}}}\n`;
    const options = {
      program: 'prometheus-3.14',
      features: 'exemplar-storage,xor2-encoding',
      config,
    } as const;
    const made = await makeDirectory(baseMs, options);
    const times = [baseMs / 1000 + 1800.5, baseMs / 1000 + 3300.5, baseMs / 1000 + 4000.5];
    const queries = [...FLOAT_QUERIES, ...HISTOGRAM_QUERIES];
    const theirs = await ask(made.url, queries, times);
    await made.end();
    const [block] = readdirSync(made.dir).filter((name) => name !== 'wal');
    const chunks = readFileSync(path.join(made.dir, block!, 'chunks', '000001'));
    // Behind the header of the file and the length of its first chunk.
    expect(chunks[chunks[8]! < 128 ? 9 : 10]).toBe(floats === 'xor' ? 1 : 4);
    const imported = await startTidemark();
    onTestFinished(() => imported.end());
    const command = await tidemark(
      'import',
      'prometheus',
      path.dirname(path.dirname(made.dir)),
      `--url=${imported.url}`,
    );
    expect(command).toEqual({ code: 0, output: expect.anything() });
    expect(await ask(imported.url, queries, times)).toEqual(theirs);
  },
  180_000,
);
