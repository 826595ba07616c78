// Nanoseconds per sample and bytes per sample of column chunks beside XOR chunks, on the kinds of values that targets
// make. Run: node services/lib/tsdb/chunk/chunk-encoder.bench.ts
import { bench, do_not_optimize, run, summary } from 'mitata';
import { ByteWriter } from '../../core/bytes.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import { decodeChunk } from './decode-chunk.ts';
import { encodeXorChunk } from './xor-encoder.ts';

const CHUNKS = 250;
const SAMPLES = 480;

const kinds: Readonly<Record<string, (i: number) => number>> = {
  constant: () => 42,
  'steps of a counter': (i) => Math.floor(i / 200),
  counter: (i) => i * 17_000 + ((i * i * 7919) % 4096),
  hundredths: (i) => (i * 1497 + ((i * i) % 97)) / 100,
  'pages of memory': (i) => ((i * i * 7919) % 30_000) * 4096,
  noise: (i) => Math.sin(i * 1.7) * 1000,
};

interface Chunks {
  readonly bytes: Uint8Array;
  readonly encodings: number[];
  readonly ends: number[];
}

const encoder = new ChunkEncoder(SAMPLES);
const xor = (columns: SampleColumns, dst: ByteWriter): number => {
  encodeXorChunk(columns.timestampsMs, columns.values, 0, SAMPLES, dst);
  return 1;
};
const cheapest = (columns: SampleColumns, dst: ByteWriter): number =>
  encoder.encode(columns.timestampsMs, columns.values, 0, SAMPLES, dst);

function makeSeries(makeValue: (i: number) => number): SampleColumns[] {
  return Array.from({ length: CHUNKS }, (_, c) => {
    const columns = new SampleColumns(SAMPLES);
    for (let i = 0; i < SAMPLES; i++) {
      columns.timestampsMs[i] = 1_700_000_000_000 + i * 15_000 + c;
      columns.values[i] = makeValue(c * SAMPLES + i);
    }
    return columns;
  });
}

function encodeAll(series: SampleColumns[], encode: typeof xor): Chunks {
  const dst = new ByteWriter();
  const encodings: number[] = [];
  const ends: number[] = [];
  for (const columns of series) {
    encodings.push(encode(columns, dst));
    ends.push(dst.length);
  }
  return { bytes: dst.take(), encodings, ends };
}

for (const [kind, makeValue] of Object.entries(kinds)) {
  const series = makeSeries(makeValue);
  for (const [name, encode] of [['XOR', xor] as const, ['cheapest', cheapest] as const]) {
    const { bytes, encodings, ends } = encodeAll(series, encode);
    const perSample = (bytes.length / (CHUNKS * SAMPLES)).toFixed(3);
    const into = new SampleColumns(SAMPLES);
    const dst = new ByteWriter(bytes.length * 2);
    summary(() => {
      bench(`decode ${kind}, ${name}, ${perSample} bytes per sample: ${CHUNKS * SAMPLES} samples`, () => {
        let start = 0;
        for (let c = 0; c < CHUNKS; c++) {
          into.count = 0;
          decodeChunk(encodings[c]!, bytes, start, ends[c]!, into);
          start = ends[c]!;
        }
        return do_not_optimize(into.count);
      });
      bench(`encode ${kind}, ${name}: ${CHUNKS * SAMPLES} samples`, () => {
        dst.reset();
        for (const columns of series) encode(columns, dst);
        return do_not_optimize(dst.length);
      });
    });
  }
}

await run();
