// Mutated segments: whatever the bytes are, replay ends, and every record that it hands over is one that was written.
import path from 'node:path';
import { expect, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { memoryDisk } from '../../../../test/support/memory-disk.ts';
import { randomOf } from '../../../../test/support/random.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { systemClock } from '../../core/clock.ts';
import { encodeRecord, encodeSegmentHead } from './record.ts';
import { type ReplayReport, replaySegments, segmentName } from './replay.ts';

const FOLDER = '/log';

interface Segment {
  readonly bytes: Uint8Array;
  /** Records as text. */
  readonly records: ReadonlySet<string>;
}

const textOf = (type: number, writer: number, sequence: number, payload: Uint8Array): string =>
  `${type} ${writer} ${sequence} ${Buffer.from(payload).toString('hex')}`;

function segment(seed: number): Segment {
  const random = randomOf(seed);
  const out = new ByteWriter(256);
  encodeSegmentHead(out, 1, seed * 77_777);
  const records = new Set<string>();
  for (let i = 0; i < 1 + seed * 2; i++) {
    const payload = Uint8Array.from({ length: Math.floor(random() * 90) }, () => Math.floor(random() * 256));
    const [type, writer, sequence] = [1 + (i % 7), i, 2 ** 32 * i + 5] as const;
    encodeRecord(out, seed * 77_777, type, writer, sequence, payload, 0, payload.length);
    records.add(textOf(type, writer, sequence, payload));
  }
  return { bytes: out.take(), records };
}

const SEGMENTS = [1, 2, 3, 4].map(segment);

async function replay(bytes: Uint8Array, isLast: boolean): Promise<{ seen: string[]; report: ReplayReport }> {
  const { disk } = memoryDisk({
    [path.join(FOLDER, segmentName(1))]: bytes,
    ...(isLast ? {} : { [path.join(FOLDER, segmentName(2))]: new Uint8Array(0) }),
  });
  const seen: string[] = [];
  const report: ReplayReport = { records: 0, bytes: 0, quarantined: 0, truncatedBytes: 0 };
  await replaySegments(
    FOLDER,
    ({ type, writer, sequence, start, end }, source) => {
      seen.push(textOf(type, writer, sequence, source.subarray(start, end)));
    },
    report,
    { disk, clock: systemClock, onDamage: () => undefined },
  );
  return { seen, report };
}

test('R6: mutated segments give records that were written, and say what they lack', {
  timeout: 300_000,
}, async () => {
  let last = false;
  await fuzzBytes({
    name: 'log segment',
    samples: SEGMENTS.map(({ bytes }) => bytes),
    answeredShareMin: 0.3,
    read: async (bytes, sample) => {
      last = !last;
      const { records } = SEGMENTS[sample]!;
      const { seen, report } = await replay(bytes, last);
      // Where two segments were joined, the head says whose records count.
      const own = SEGMENTS.find((other) => seen.every((text) => other.records.has(text)));
      expect(own, `${seen.join()} were written to one segment`).toBeDefined();
      // Of what was cut out or joined nothing need be left that tells of it.
      if (bytes.length === SEGMENTS[sample]!.bytes.length && seen.length < records.size)
        expect(report.quarantined + report.truncatedBytes).toBeGreaterThan(0);
      return seen.length > 0;
    },
  });
});
