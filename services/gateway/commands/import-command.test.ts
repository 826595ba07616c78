// `tidemark import openmetrics` against a server that takes, refuses and delays: what is sent, told and counted.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { labelV1, sample } from '../../../test/support/remote-write-encoder.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { systemDisk } from '../../lib/core/disk.ts';
import {
  decompressSnappy,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../../lib/wire/compression/snappy.ts';
import { jsonLine, openMetricsLines, openMetricsTime } from './export-text.ts';
import { runImportCommand } from './import-command.ts';

interface Scripted {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly text?: string;
}

let folder: string;
let server: Server;
let url: string;
/** Decompressed requests that came. */
let requests: Buffer[];
/** Answers to the first ones; 204 afterwards. */
let script: Scripted[];

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
  requests = [];
  script = [];
  server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const body = Buffer.concat(pieces);
      const into = new Uint8Array(snappyDecodedBytes(body) + SNAPPY_SLACK_BYTES);
      requests.push(Buffer.from(into.subarray(0, decompressSnappy(body, into))));
      const { status, headers, text } = script.shift() ?? { status: 204 };
      response.writeHead(status, headers).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => {
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true });
});

async function importText(text: string, ...flags: readonly string[]) {
  const file = path.join(folder, 'some.om');
  writeFileSync(file, text);
  let out = '';
  let complaints = '';
  const exitCode = await runImportCommand(
    ['openmetrics', file, `--url=${url}`, ...flags],
    {
      write: async (piece) => {
        out += piece;
      },
      complain: (piece) => {
        complaints += piece;
      },
    },
    { disk: systemDisk, clock: systemClock, environment: {} },
  );
  return { exitCode, out, complaints };
}

test('labels and samples as remote write has them', async () => {
  const { exitCode, out } = await importText(
    '# TYPE up gauge\nup{job="a"} 2.5 1700000000.077\nup{job="a"} 1 -1\n# EOF\n',
  );
  expect(exitCode).toBe(0);
  expect(out).toContain('2 samples written');
  const [request] = requests;
  const labels = Buffer.concat([labelV1(['__name__', 'up']), labelV1(['job', 'a'])]);
  const samples = [sample(2.5, Math.trunc(1700000000.077 * 1000)), sample(1, -1000)];
  const fields = samples.map((bytes) => Buffer.concat([Uint8Array.of(0x12, bytes.length), bytes]));
  const series = Buffer.concat([labels, ...fields]);
  expect(request!.subarray(0, series.length + 2).toString('hex')).toBe(
    Buffer.concat([Uint8Array.of(0x0a, series.length), series]).toString('hex'),
  );
});

test('malformed lines are told and skipped, a missing end is no silence', async () => {
  const { exitCode, out, complaints } = await importText('up 1 1\nup one 2\nup 3 3\nup 4\n{} 5 5\nup 6 6');
  expect(exitCode).toBe(1);
  expect(complaints).toMatch(/skipped: .*some\.om: .* \(line 2 since the start, offset 7\)/);
  expect(complaints).toMatch(/\(line 5 since the start, offset 28\)/);
  expect(complaints).toContain('there is no # EOF');
  expect(out).toContain('3 samples written');
  expect(out).toContain('1 left out: samples without a timestamp');
  // A second run does not hide what the first one skipped.
  expect(await importText('up 1 1\nup one 2\nup 3 3\nup 4\n{} 5 5\nup 6 6')).toMatchObject({ exitCode: 1 });
});

test('"not now" is asked again, a refusal is counted as the server says', async () => {
  script = [
    { status: 503, headers: { 'retry-after': '0' } },
    {
      status: 400,
      headers: {
        'x-prometheus-remote-write-samples-written': '1',
        'x-prometheus-remote-write-histograms-written': '0',
        'x-prometheus-remote-write-exemplars-written': '0',
      },
      text: 'too old: up',
    },
  ];
  const { exitCode, out, complaints } = await importText('up 1 1\nup 3 3\n# EOF\n');
  expect(exitCode).toBe(1);
  expect(complaints).toContain('refused: 400 too old: up');
  expect(out).toContain('1 samples written');
  expect(out).toContain('1 samples were refused by the server');
  expect(out).toContain('1 requests had to be sent again');
});

test('a server that is no Tidemark, and one that is not there, end the import', async () => {
  script = [{ status: 404, text: 'no such page' }];
  expect(await importText('up 1 1\n# EOF\n')).toMatchObject({
    exitCode: 1,
    complaints: expect.stringContaining('404 no such page: is this a Tidemark gateway?'),
  });
  server.close();
  server.closeAllConnections();
  const { exitCode, complaints } = await importText('up 1 1\n# EOF\n', '--retry-for=0s');
  expect(exitCode).toBe(1);
  expect(complaints).toContain('ECONNREFUSED');
});

test('a second import of the same file sends nothing, another size does', async () => {
  await importText('up 1 1\n# EOF\n');
  const before = requests.length;
  expect((await importText('up 1 1\n# EOF\n')).out).toContain('everything was imported before');
  expect(requests).toHaveLength(before);
  await importText('up 1 1\nup 2 2\n# EOF\n');
  expect(requests.length).toBeGreaterThan(before);
});

test('times survive being multiplied and cut off', () => {
  for (let timeMs = 1_700_000_000_000; timeMs < 1_700_000_005_000; timeMs++) {
    expect(Math.trunc(Number(openMetricsTime(timeMs)) * 1000)).toBe(timeMs);
  }
  expect(openMetricsTime(-1500)).toBe('-1.5');
});

test('exported lines', () => {
  const metric = { __name__: 'up', text: 'a "b"\n' };
  const found = {
    metric,
    values: [
      [1, '1e+21'],
      [1.5, '-Inf'],
      [2, 'NaN'],
    ] as const,
    histograms: 0,
  };
  expect(openMetricsLines(found)).toBe(
    'up{text="a \\"b\\"\\n"} 1e+21 1\nup{text="a \\"b\\"\\n"} -Inf 1.5\nup{text="a \\"b\\"\\n"} NaN 2\n',
  );
  expect(jsonLine(found)).toBe(
    '{"metric":{"__name__":"up","text":"a \\"b\\"\\n"},"values":[1e+21,"-Infinity",null],"timestamps":[1000,1500,2000]}\n',
  );
});
