// What a dashboard's pickers ask of a head with a million series, in CPU milliseconds (other load does not count), medians and
// maxima: selectors with a matcher that chooses few, label names, label values. Above 50 ms it says so and exits with 1.
// Run: node --expose-gc services/lib/tsdb/head/million-series.bench.ts [series] [runs]
import { ByteWriter } from '../../core/bytes.ts';
import { systemClock } from '../../core/clock.ts';
import { encodeLabels, Labels } from '../../model/labels.ts';
import type { Matcher } from '../../model/matcher.ts';
import { Head } from './head.ts';
import { labelsOfHead, selectHead } from './head-select.ts';

const seriesCount = Number(process.argv[2] ?? 1_000_000);
const runs = Number(process.argv[3] ?? 15);
const LIMIT_MS = 50;
const START_MS = 1_700_000_000_000;
/** As a node-exporter has them. */
const SERIES_PER_TARGET = 550;
const METRICS = 220;

/** Series i, its labels as kube-prometheus-stack gives them to a node-exporter. */
function labelsOf(i: number): Labels {
  const target = Math.floor(i / SERIES_PER_TARGET);
  const within = i % SERIES_PER_TARGET;
  const pairs: [string, string][] = [
    ['__name__', `node_metric_${within % METRICS}_total`],
    ['cluster', `cluster-${target % 4}`],
    ['instance', `10.${target >> 8}.${target & 255}.17:9100`],
    ['job', 'node-exporter'],
    ['namespace', `team-${target % 50}`],
    ['pod', `node-exporter-${target.toString(36)}`],
  ];
  if (within >= METRICS) pairs.push(['device', `sd${Math.floor(within / METRICS)}`]);
  if (within % 7 === 0) pairs.push(['mode', ['idle', 'user', 'system'][within % 3]!]);
  return Labels.from(pairs);
}

function fill(): Head {
  const head = new Head({ rangeMs: 7_200_000, chunkSamplesTarget: 120, hashSeed: 1 });
  const bytes = new ByteWriter();
  const ids = new Uint32Array(seriesCount);
  for (let i = 0; i < seriesCount; i++) {
    bytes.reset();
    encodeLabels(labelsOf(i), bytes);
    ids[i] = head.define(bytes.bytes, 0, bytes.length, i % 64);
  }
  const times = new Float64Array(seriesCount);
  const values = new Float64Array(seriesCount);
  for (let scrape = 0; scrape < 2; scrape++) {
    times.fill(START_MS + scrape * 15_000);
    values.fill(scrape);
    head.appendSamples(ids, times, values, 0, seriesCount, 1);
  }
  return head;
}

const all = { minTimeMs: START_MS - 1, maxTimeMs: START_MS + 60_000, partitions: undefined, seriesMax: 1e9 };

function select(head: Head, matchers: readonly Matcher[]): number {
  let chunks = 0;
  const sink = { beginSeries: () => undefined, chunk: () => void chunks++ };
  const steps = selectHead(head, { ...all, matchers, labelsOnly: false }, systemClock, sink);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

function list(head: Head, matchers: readonly Matcher[], name: string): number {
  const steps = labelsOfHead(head, { ...all, matchers, labelsOnly: true }, name, 0, systemClock);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value.values.length;
  }
}

const equals = (name: string, value: string): Matcher => ({ name, operator: '=', value });
const like = (name: string, value: string): Matcher => ({ name, operator: '=~', value });
const name = equals('__name__', 'node_metric_7_total');

const QUESTIONS: readonly (readonly [what: string, ask: (head: Head) => number])[] = [
  ['one series: name and instance', (head) => select(head, [name, equals('instance', '10.1.7.17:9100')])],
  ['a target: instance alone', (head) => select(head, [equals('instance', '10.1.7.17:9100')])],
  [
    'every series of a job, but one pod',
    (head) => select(head, [equals('job', 'node-exporter'), equals('pod', 'node-exporter-2a')]),
  ],
  [
    'name, 1 of 4 clusters, a namespace',
    (head) => select(head, [name, equals('cluster', 'cluster-1'), equals('namespace', 'team-5')]),
  ],
  [
    'name, instance by an expression',
    (head) => select(head, [name, like('instance', '10\\.1\\.[0-9]{2}\\.17:9100')]),
  ],
  ['name, pod by an alternation', (head) => select(head, [name, like('pod', 'node-exporter-(1|2a|3b)')])],
  [
    'name, all but a namespace',
    (head) => select(head, [name, { name: 'namespace', operator: '!=', value: 'team-5' }]),
  ],
  ['all label names', (head) => list(head, [], '')],
  ['label names of a metric', (head) => list(head, [name], '')],
  ['all values of instance', (head) => list(head, [], 'instance')],
  ['all values of __name__', (head) => list(head, [], '__name__')],
  ['values of instance, of a metric', (head) => list(head, [name], 'instance')],
  ['values of mode, of a job', (head) => list(head, [equals('job', 'node-exporter')], 'mode')],
  ['values of instance, of a job', (head) => list(head, [equals('job', 'node-exporter')], 'instance')],
  ['label names of a job', (head) => list(head, [equals('job', 'node-exporter')], '')],
];

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

const head = fill();
let slow = 0;
console.log(`${seriesCount} series, ${Math.round(head.bytesHeld / seriesCount)} bytes each in the head`);
for (const [what, ask] of QUESTIONS) {
  const times: number[] = [];
  let found = 0;
  for (let run = 0; run < runs; run++) {
    const startedMs = cpuMs();
    found = ask(head);
    times.push(cpuMs() - startedMs);
  }
  const first = times[0]!;
  times.sort((a, b) => a - b);
  const median = times[times.length >> 1]!;
  if (median > LIMIT_MS) slow++;
  console.log(
    `${what.padEnd(38)} ${String(found).padStart(8)} found, median ${median.toFixed(1)} ms, first ${first.toFixed(1)} ms` +
      (median > LIMIT_MS ? `, above ${LIMIT_MS} ms` : ''),
  );
}
if (slow > 0) process.exitCode = 1;
