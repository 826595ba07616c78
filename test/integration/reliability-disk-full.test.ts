// RELIABILITY R10 with the real process on a small tmpfs: full, it refuses writes with 503 and Retry-After and answers queries; with
// space again it takes them within seconds, in the same process; a start on the full disk answers too. Nothing acknowledged is lost.
// TIDEMARK_FULL_CYCLES sets how often. Where nothing may be mounted, a disk shim with a quota shows the same of the log
// (services/lib/tsdb/log/segment-log.test.ts, R10).
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../support/programs.ts';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { queryRange, startTidemark, type Tidemark } from '../support/tidemark.ts';

const CYCLES = Number(process.env.TIDEMARK_FULL_CYCLES ?? 3);
const SERIES = 200;
const STEP_MS = 1000;
const RESUME_MS_MAX = 5000;

function tryMount(folder: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', folder], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Writes zeros until nothing more fits. */
function fill(file: string): void {
  const handle = openSync(file, 'w');
  try {
    for (let size = 1 << 20; size >= 1; ) {
      try {
        writeSync(handle, Buffer.alloc(size));
      } catch (caught) {
        expect(caught).toMatchObject({ code: 'ENOSPC' });
        size >>= 1;
      }
    }
  } finally {
    closeSync(handle);
  }
}

const startMs = Date.now() - 3_600_000;

/** Numbers acknowledged; request n holds one sample of each series with the value n. */
class Sender {
  readonly acknowledged: number[] = [];
  #next = 0;

  async send(url: string): Promise<{ status: number; retryAfter: string | null }> {
    const number = this.#next++;
    const series = Array.from({ length: SERIES }, (_, i) => ({
      labels: { __name__: 'full', series: `${i}` },
      samples: [[startMs + number * STEP_MS, number]] as [number, number][],
    }));
    const { status, headers } = await postWrite(url, snappyLiterals(encodeWriteRequest(series)));
    if (status === 204) this.acknowledged.push(number);
    return { status, retryAfter: headers.get('retry-after') };
  }

  get sent(): number {
    return this.#next;
  }
}

async function missing(server: Tidemark, sender: Sender): Promise<number[]> {
  const [start, end] = [startMs / 1000, (startMs + (sender.sent + 1) * STEP_MS) / 1000];
  // Written at whole seconds of its own: no sample stands for another.
  const [found] = await queryRange(server.url, `count(count_over_time(full[999ms]))`, start, end, 1);
  const counts = new Map(found?.values.map(([seconds, text]) => [Math.round(seconds * 1000), Number(text)]));
  return sender.acknowledged.filter((number) => counts.get(startMs + number * STEP_MS) !== SERIES);
}

const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-full-'));
const isMounted = tryMount(folder);
if (!isMounted) {
  rmSync(folder, { recursive: true, force: true });
  console.warn('not run: R10 on a real full disk, for want of the right to mount a tmpfs');
}

test.skipIf(!isMounted)(`R10: a disk that is full ${CYCLES} times`, { timeout: 240_000 }, async () => {
  onTestFinished(() => {
    execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  const sender = new Sender();
  const start = () => startTidemark({ dataDir: path.join(folder, 'data') });
  let server = await start();
  const filler = path.join(folder, 'filler');
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    for (let i = 0; i < 5; i++) expect((await sender.send(server.url)).status).toBe(204);
    fill(filler);
    const refused = await waitFor('a refusal', async () => {
      const answer = await sender.send(server.url);
      return answer.status === 204 ? undefined : answer;
    });
    expect(refused.status).toBe(503);
    expect(Number(refused.retryAfter)).toBeGreaterThan(0);
    expect(await missing(server, sender)).toEqual([]);
    expect((await sender.send(server.url)).status).toBe(503);
    if (cycle === 1) {
      await server.end('SIGKILL');
      server = await start();
      expect(await missing(server, sender)).toEqual([]);
      expect((await sender.send(server.url)).status).toBe(503);
    }
    rmSync(filler);
    const freedMs = performance.now();
    await waitFor('a write that is taken', async () => (await sender.send(server.url)).status === 204);
    expect(performance.now() - freedMs).toBeLessThan(RESUME_MS_MAX);
    expect(await missing(server, sender)).toEqual([]);
    expect(server.exited()).toBeUndefined();
  }
  await server.end('SIGKILL');
  server = await start();
  expect(await missing(server, sender)).toEqual([]);
  console.log(`R10: ${CYCLES} cycles, ${sender.acknowledged.length * SERIES} samples acknowledged, 0 lost`);
});
