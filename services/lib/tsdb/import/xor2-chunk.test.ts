import { expect, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { bitsOf } from '../../../../test/support/histograms.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { decodeXor2Chunk } from './xor2-chunk.ts';

function decode(bytes: Uint8Array): [number, string][] {
  const columns = new SampleColumns(1);
  decodeXor2Chunk(bytes, 0, bytes.length, columns);
  return Array.from({ length: columns.count }, (_, i) => [
    columns.timestampsMs[i]!,
    bitsOf(columns.values[i]!),
  ]);
}

const STALE = '7ff0000000000002';
const ONE = '3ff0000000000000';
/** Worked out from docs/format/prometheus.md, "XOR2 chunks". */
const GOLDEN: readonly [name: string, hex: string, samples: readonly [number, string][]][] = [
  [
    'one again, then a marker on the grid',
    // 3 samples, no start times; 1000; 1.0; step 1000; 0 | 11111
    '0003 00 d00f 3ff0000000000000 e807 7c',
    [
      [1000, ONE],
      [2000, ONE],
      [3000, STALE],
    ],
  ],
  [
    'a marker first, which nothing is compared with; steps that change',
    // 4 samples; 1000; the marker; step 1000; 110, 2 leading zeros, 10 significant bits, ten ones; 110, 1, 0; 110, -1, 111
    '0004 00 d00f 7ff0000000000002 e807 c22bffc0016ffff0',
    [
      [1000, STALE],
      [2000, ONE],
      [3001, ONE],
      [4001, STALE],
    ],
  ],
];

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

test.each(GOLDEN)('golden bytes: %s', (_name, hex, samples) => {
  expect(decode(bytesOf(hex))).toEqual(samples);
});

test('mutated bytes: samples in order, or the named error', async () => {
  await fuzzBytes({
    name: 'XOR2 chunk',
    samples: GOLDEN.map(([, hex]) => bytesOf(hex)),
    mutationsMax: 20_000,
    answeredShareMin: 0.002,
    read: (bytes) => {
      let samples: [number, string][];
      try {
        samples = decode(bytes);
      } catch (caught) {
        expect(caught).toMatchObject({ code: 'bad_data' });
        return false;
      }
      for (const [i, [timeMs]] of samples.entries())
        if (i > 0) expect(timeMs).toBeGreaterThan(samples[i - 1]![0]);
      return true;
    },
  });
});
