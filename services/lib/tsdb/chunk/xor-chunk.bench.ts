// Nanoseconds per sample of the XOR codec on three kinds of values. Run: node services/lib/tsdb/chunk/xor-chunk.bench.ts
import { bench, do_not_optimize, run, summary } from 'mitata';
import { ByteWriter } from '../../core/bytes.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { decodeXorChunk } from './xor-decoder.ts';
import { encodeXorChunk } from './xor-encoder.ts';

const CHUNKS = 1000;
const SAMPLES = 120;

const kinds: Readonly<Record<string, (i: number) => number>> = {
  constant: () => 42,
  counter: (i) => i * 17 + ((i * i) % 5),
  noise: (i) => Math.sin(i * 1.7) * 1000,
};

for (const [kind, makeValue] of Object.entries(kinds)) {
  const columns = new SampleColumns(SAMPLES);
  const encoded = new ByteWriter();
  const ends: number[] = [];
  for (let c = 0; c < CHUNKS; c++) {
    for (let i = 0; i < SAMPLES; i++) {
      columns.timestampsMs[i] = 1_700_000_000_000 + i * 15_000 + ((i * 7 + c) % 11 === 0 ? 1 : 0);
      columns.values[i] = makeValue(c * SAMPLES + i);
    }
    encodeXorChunk(columns.timestampsMs, columns.values, 0, SAMPLES, encoded);
    ends.push(encoded.length);
  }
  const bytes = encoded.take();
  const into = new SampleColumns(SAMPLES);
  const dst = new ByteWriter(encoded.length * 2);
  summary(() => {
    bench(`decode ${kind}: ${CHUNKS * SAMPLES} samples`, () => {
      let start = 0;
      for (const end of ends) {
        into.count = 0;
        decodeXorChunk(bytes, start, end, into);
        start = end;
      }
      return do_not_optimize(into.count);
    });
    bench(`encode ${kind}: ${CHUNKS * SAMPLES} samples`, () => {
      dst.reset();
      for (let c = 0; c < CHUNKS; c++) encodeXorChunk(columns.timestampsMs, columns.values, 0, SAMPLES, dst);
      return do_not_optimize(dst.length);
    });
  });
}

await run();
