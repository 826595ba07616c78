// The made-up series of the rehearsal: a head that is filled once and written nowhere.
import { ByteWriter } from '../../lib/core/bytes.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { Head } from '../../lib/tsdb/head/head.ts';

const TARGETS = 40;
const STEP_MS = 15_000;
const SAMPLES = 240;
/** As an ingester has them. */
const RANGE_MS = 2 * 3_600_000;
const SAMPLES_PER_CHUNK = 120;
const START_MS = 1_767_225_600_000;
export const REHEARSED_SPAN_MS = (SAMPLES - 1) * STEP_MS;
/** Unix ms of the newest sample; all of them lie within one range of the head. */
export const REHEARSED_END_MS = START_MS + REHEARSED_SPAN_MS;

const COUNTER = 'rehearsed_seconds_total';
/** Metric by metric what a target has, as exporters do: constants, counters of fractions, gauges of bytes, histograms. */
const TEMPLATES: readonly {
  readonly name: string;
  readonly more: readonly (readonly [name: string, value: string])[];
  readonly valueAt: (target: number, scrape: number) => number;
}[] = [
  ...['idle', 'iowait', 'steal', 'system', 'user'].map((mode, i) => ({
    name: COUNTER,
    more: [['cpu', '0'] as const, ['mode', mode] as const],
    valueAt: (target: number, scrape: number) =>
      mode === 'steal'
        ? 0
        : Math.round(100 * (1e4 * target + scrape * (1.37 + i) + ((scrape * target) % 7))) / 100,
  })),
  {
    name: 'rehearsed_bytes',
    more: [],
    valueAt: (target, scrape) => 1e10 + 4096 * ((scrape * (target + 3)) % 1009),
  },
  { name: 'rehearsed_limit_bytes', more: [], valueAt: () => 2e10 },
  ...['0.1', '1', '+Inf'].map((le, i) => ({
    name: 'rehearsed_seconds_bucket',
    more: [['le', le] as const],
    valueAt: (target: number, scrape: number) => scrape * (target + 3 * i + 1),
  })),
];

/** Without series; its range holds all of them. */
export function makeRehearsedHead(): Head {
  return new Head({ rangeMs: RANGE_MS, chunkSamplesTarget: SAMPLES_PER_CHUNK, hashSeed: 1 });
}

/** Appends scrape by scrape, as samples come: older chunks are closed, the newest one is open. */
export function fillRehearsedHead(head: Head): void {
  const ids = new Uint32Array(TARGETS * TEMPLATES.length);
  const labels = new ByteWriter(256);
  for (let target = 0; target < TARGETS; target++) {
    for (const [i, { name, more }] of TEMPLATES.entries()) {
      labels.reset();
      encodeLabels(
        Labels.from([
          ['__name__', name],
          ['cluster', 'rehearsal'],
          ['instance', `host-${target}:9100`],
          ['job', 'rehearsal'],
          ...more,
        ]),
        labels,
      );
      ids[target * TEMPLATES.length + i] = head.define(labels.bytes, 0, labels.length, 0);
    }
  }
  const timestampsMs = new Float64Array(ids.length);
  const values = new Float64Array(ids.length);
  for (let scrape = 0; scrape < SAMPLES; scrape++) {
    timestampsMs.fill(START_MS + scrape * STEP_MS);
    for (let i = 0; i < ids.length; i++) {
      const target = Math.floor(i / TEMPLATES.length);
      values[i] = TEMPLATES[i % TEMPLATES.length]!.valueAt(target, scrape);
    }
    head.appendSamples(ids, timestampsMs, values, 0, ids.length, 1);
  }
}
