// Unites the frames of one hour of 55,000 series, once and twice, and reads them. Run: node services/querier/selection/series-union.bench.ts
import { bench, do_not_optimize, run } from 'mitata';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { CHUNK_XOR } from '../../lib/model/chunk-sink.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { encodeXorChunk } from '../../lib/tsdb/chunk/xor-encoder.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { SeriesUnion } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';

const SERIES = 55_000;
const CHUNKS = 2;
const SAMPLES = 120;

function makeFrames(): Uint8Array[] {
  const writer = new SeriesFrameWriter();
  const labels = new ByteWriter();
  const chunk = new ByteWriter();
  const timestampsMs = new Float64Array(SAMPLES);
  const values = new Float64Array(SAMPLES);
  for (let s = 0; s < SERIES; s++) {
    labels.reset();
    const pairs: [string, string][] = [
      ['__name__', `node_metric_${s % 500}_total`],
      ['instance', `host-${Math.floor(s / 500)}.example.com:9100`],
      ['job', 'node'],
      ['mode', `m${(s * 7919) % 10}`],
    ];
    encodeLabels(Labels.from(pairs), labels);
    writer.beginSeries(labels.bytes, 0, labels.length);
    for (let c = 0; c < CHUNKS; c++) {
      for (let i = 0; i < SAMPLES; i++) {
        timestampsMs[i] = (c * SAMPLES + i) * 15_000;
        values[i] = (c * SAMPLES + i) * 17 + (s % 100);
      }
      chunk.reset();
      encodeXorChunk(timestampsMs, values, 0, SAMPLES, chunk);
      writer.chunk(CHUNK_XOR, timestampsMs[0]!, timestampsMs[SAMPLES - 1]!, chunk.bytes, 0, chunk.length);
    }
  }
  return writer.finish();
}

const frames = makeFrames();
const pacer = new WorkPacer(undefined, Number.MAX_SAFE_INTEGER);

async function unite(copies: number): Promise<UnitedSeriesSet> {
  const union = new SeriesUnion({ seriesMax: SERIES, hashSeed: 1 }, { charge: () => undefined });
  for (let copy = 0; copy < copies; copy++) for (const frame of frames) union.addFrame(frame, 'bench');
  await union.sort(pacer);
  return new UnitedSeriesSet(union, []);
}

function readAll(set: UnitedSeriesSet): number {
  const columns = new SampleColumns();
  let samples = 0;
  for (let i = 0; i < set.size; i++) {
    set.read(i, 0, 1e12, columns);
    samples += columns.count;
  }
  return samples;
}

const once = await unite(1);
const twice = await unite(2);
const expected = SERIES * CHUNKS * SAMPLES;
if (readAll(once) !== expected || readAll(twice) !== expected) throw new Error('wrong number of samples');

bench(`unite ${SERIES} series`, async () => do_not_optimize(await unite(1)));
bench(`unite ${SERIES} series of two replicas`, async () => do_not_optimize(await unite(2)));
bench(`read ${expected} samples`, () => do_not_optimize(readAll(once)));
bench(`read ${expected} samples of two replicas`, () => do_not_optimize(readAll(twice)));
await run();
