// A small run of seal.bench.ts on values of real node exporters: what a sealed block may weigh, and that it loses nothing.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/blocks.ts';
import { hasShared, sharedPath } from '../../../test/support/shared.ts';

const run = promisify(execFile);

/** With the index; issue 5. Three targets take 0.27. */
const BYTES_PER_SAMPLE_MAX = 0.45;

test.skipIf(!hasShared('bench'))(
  'two hours of node-exporter data: at most 0.45 bytes per sample, every bit back',
  async () => {
    await using folder = await temporaryFolder();
    const file = path.join(folder.path, 'replay');
    const shape = ['--targets', '3', '--scrapes', '480', '--start-ms', '1699999200000'];
    await run(process.execPath, [sharedPath('bench', 'gen.mjs'), file, ...shape]);
    const bench = path.join(import.meta.dirname, 'seal.bench.ts');
    const { stdout } = await run(process.execPath, [bench, file, '1']);
    const [block, content] = stdout
      .trim()
      .split('\n')
      .map((line): Record<string, number> => JSON.parse(line));
    expect(block).toMatchObject({ samples: block!.series! * 480, chunks: block!.series });
    expect(block!.bytes_per_sample).toBeLessThanOrEqual(BYTES_PER_SAMPLE_MAX);
    expect(content).toEqual({ series_read: block!.series, series_that_differ: 0 });
  },
  60_000,
);
