// Nanoseconds and bytes per sample of appends to the head, and of a select over it: 20,000 series like node-exporter's,
// scraped in order. Run: node --expose-gc services/lib/tsdb/head/head.bench.ts [series] [scrapes]
import { ByteWriter } from '../../core/bytes.ts';
import { systemClock } from '../../core/clock.ts';
import { encodeLabels, Labels } from '../../model/labels.ts';
import { Head } from './head.ts';
import { selectHead } from './head-select.ts';

const seriesCount = Number(process.argv[2] ?? 20_000);
const scrapes = Number(process.argv[3] ?? 240);
const startMs = 1_700_000_000_000;

const before = process.memoryUsage().rss;
const head = new Head({ rangeMs: 7_200_000, chunkSamplesTarget: 120, hashSeed: 1 });
const labels = new ByteWriter();
const ids = new Uint32Array(seriesCount);
/** CPU milliseconds of this process: other load does not count. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

let startedMs = cpuMs();
for (let i = 0; i < seriesCount; i++) {
  labels.reset();
  encodeLabels(
    Labels.from([
      ['__name__', `node_metric_${i % 700}_total`],
      ['instance', `host-${Math.floor(i / 700)}.example:9100`],
      ['job', 'node'],
      ['device', `sd${i % 5}`],
      ['mode', ['idle', 'user', 'system'][i % 3]!],
    ]),
    labels,
  );
  ids[i] = head.define(labels.bytes, 0, labels.length, i % 64);
}
const defineMs = cpuMs() - startedMs;

const timestampsMs = new Float64Array(seriesCount);
const values = new Float64Array(seriesCount);
let appendMs = 0;
for (let scrape = 0; scrape < scrapes; scrape++) {
  timestampsMs.fill(startMs + scrape * 15_000);
  for (let i = 0; i < seriesCount; i++) {
    // A third constant, a third counters of whole numbers, a third counters of hundredths.
    const kind = i % 3;
    if (kind === 0) values[i] = i;
    else if (kind === 1) values[i] = scrape * (i % 97) + ((scrape * i) % 7);
    else values[i] = Math.round((scrape * 14.97 + (i % 100)) * 100) / 100;
  }
  startedMs = cpuMs();
  head.appendSamples(ids, timestampsMs, values, 0, seriesCount, 1);
  appendMs += cpuMs() - startedMs;
}

startedMs = cpuMs();
let chunkBytes = 0;
const selection = {
  matchers: [{ name: 'job', operator: '=', value: 'node' } as const],
  minTimeMs: 0,
  maxTimeMs: 1e15,
  partitions: undefined,
  labelsOnly: false,
  seriesMax: 1e9,
};
const steps = selectHead(head, selection, systemClock, {
  beginSeries: () => undefined,
  chunk: (_encoding, _first, _last, _bytes, start, end) => {
    chunkBytes += end - start;
  },
});
while (!steps.next().done);
const selectMs = cpuMs() - startedMs;

const samples = seriesCount * scrapes;
console.log(
  JSON.stringify({
    series: seriesCount,
    samples,
    define_ns_per_series: Math.round((defineMs * 1e6) / seriesCount),
    append_ns_per_sample: Math.round((appendMs * 1e6) / samples),
    chunk_bytes_per_sample: Number((chunkBytes / samples).toFixed(2)),
    head_bytes_per_series: Math.round(head.bytesHeld / seriesCount),
    rss_bytes_per_series: Math.round((process.memoryUsage().rss - before) / seriesCount),
    select_ns_per_series: Math.round((selectMs * 1e6) / seriesCount),
  }),
);
