// RELIABILITY R28: small bodies that claim or unpack to much, a hundred at once, at the door for remote write: refused, and the process
// has not grown by what they would have taken.
import { readFileSync } from 'node:fs';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { queryInstant, startTidemark } from '../support/tidemark.ts';

const PARALLEL = 100;
const GROWTH_MIB_MAX = 64;
/** For bodies that are unpacked, up to the limit: 75 MiB of bodies, and a few of them unpacked at a time, not the 1,600 MiB of all. */
const UNPACKED_MIB_MAX = 256;
const UNPACKED_BYTES = 256 << 20;

const peakMib = (pid: number): number =>
  Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

/** A whole snappy block of `bytes` zeros: 21 times smaller than what it unpacks to. */
function snappyZeros(bytes: number): Buffer {
  const head = [(bytes & 127) | 128, ((bytes >> 7) & 127) | 128, ((bytes >> 14) & 127) | 128, bytes >> 21, 0];
  // One literal zero, then copies of up to 64 bytes from one byte back.
  const pieces: number[] = [...head, 0];
  for (let left = bytes - 1; left > 0; left -= 64) pieces.push(((Math.min(left, 64) - 1) << 2) | 2, 1, 0);
  return Buffer.from(pieces);
}

function zstdWithoutSize(content: Buffer): Buffer {
  // A small window, so that it is the content that is refused.
  return zstdCompressSync(content, {
    params: { [constants.ZSTD_c_contentSizeFlag]: 0, [constants.ZSTD_c_windowLog]: 20 },
  });
}

/** As the image has them (deploy/docker/Dockerfile): left alone, the C library keeps what one bomb took for the next. */
const IMAGE_SETTINGS = { MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '1048576' };

test('R28: a hundred bombs at once are refused before they unpack', { timeout: 120_000 }, async () => {
  const server = await startTidemark({ env: IMAGE_SETTINGS });
  const now = Date.now();
  const good = snappyLiterals(encodeWriteRequest([{ labels: { __name__: 'm' }, samples: [[now, 1]] }]));
  expect((await postWrite(server.url, good)).status).toBe(204);
  const claim = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
  const bombs: readonly (readonly [what: string, encoding: string, body: Buffer, status: number])[] = [
    ['snappy that claims 4 GiB', 'snappy', claim, 413],
    ['snappy of 200 MiB of zeros', 'snappy', snappyZeros(200 << 20).subarray(0, 1 << 14), 413],
    ['zstd of 256 MiB', 'zstd', zstdCompressSync(Buffer.alloc(UNPACKED_BYTES)), 413],
    // Not taken at all; whoever adds it has to bound it.
    ['gzip of 256 MiB', 'gzip', gzipSync(Buffer.alloc(UNPACKED_BYTES)), 415],
    ['zstd that does not say that it is 256 MiB', 'zstd', zstdWithoutSize(Buffer.alloc(UNPACKED_BYTES)), 413],
    ['snappy of 16 MiB of zeros', 'snappy', snappyZeros(16 << 20), 400],
  ];
  const before = peakMib(server.pid);
  for (const [what, encoding, body, expected] of bombs) {
    const statuses = await Promise.all(
      Array.from({ length: PARALLEL }, async () => {
        const response = await fetch(`${server.url}/api/v1/write`, {
          method: 'POST',
          body: new Uint8Array(body),
          headers: { 'content-type': 'application/x-protobuf', 'content-encoding': encoding },
        });
        await response.arrayBuffer();
        return response.status;
      }),
    );
    expect([...new Set(statuses)], what).toEqual([expected]);
    const growthMax = expected === 400 || what.includes('does not say') ? UNPACKED_MIB_MAX : GROWTH_MIB_MAX;
    expect(peakMib(server.pid) - before, `MiB for ${what}`).toBeLessThan(growthMax);
    console.log(
      `R28 ${what}: ${body.length} bytes, ${[...new Set(statuses)].join()}, peak +${(peakMib(server.pid) - before).toFixed(0)} MiB`,
    );
  }
  expect(server.exited()).toBeUndefined();
  expect(await queryInstant(server.url, 'count(m)')).toHaveLength(1);
});
