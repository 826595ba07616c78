// Native histograms, exemplars and start times of protobuf and OpenMetrics targets, as they reach the distributor.
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  type ExposedFamily,
  type ExposedHistogram,
  exposition,
  PROTOBUF_TYPE,
} from '../../../test/support/exposition-encoder.ts';
import { waitFor } from '../../../test/support/programs.ts';
import { RecordingDistributor } from '../../../test/support/recording-distributor.ts';
import { startScrapeTarget } from '../../../test/support/scrape-target.ts';
import { systemClock } from '../../lib/core/clock.ts';
import {
  decodeStartTime,
  EXTRA_EXEMPLAR,
  EXTRA_HISTOGRAM,
  EXTRA_START_TIME,
} from '../../lib/model/extra-columns.ts';
import type { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { decodeHistogram } from '../../lib/model/histogram-codec.ts';
import { Labels } from '../../lib/model/labels.ts';
import { loadConfig } from '../../lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { TargetState } from '../../lib/wire/contracts.ts';
import { createScraper } from '../service.ts';
import { limitHistogram, schemaOfFactor } from './histogram-limits.ts';

const PROTOBUF = { 'content-type': PROTOBUF_TYPE };
const OPENMETRICS = { 'content-type': 'application/openmetrics-text; version=1.0.0' };

/** A scraper with one job and one target, at ten scrapes a second. */
async function createRig(options = '') {
  const distributor = new RecordingDistributor();
  const scraper = createScraper(
    { version: '9.9.9', writeGatherMs: 0 },
    { distributor, clock: systemClock, logger: createSilentLogger(), registry: new Registry() },
  );
  onTestFinished(async () => {
    await scraper.drain();
    await scraper.stop();
  });
  await scraper.start();
  const target = await startScrapeTarget('');
  const begin = (): Promise<void> => {
    const job = `{job_name: j${options}, static_configs: [{targets: ["${target.address}"], labels: {instance: i}}]}`;
    return scraper.applyConfig(
      loadConfig(`global: {scrape_interval: 100ms}\nscrape_configs:\n  - ${job}\n`, '/'),
    );
  };
  const scrapes = (): number => distributor.series(named('up')).length;
  const next = (count = 2): Promise<true> => {
    const before = scrapes();
    return waitFor('more scrapes', async () => scrapes() >= before + count, {
      describe: () => distributor.names().join('\n'),
    }).then(() => true);
  };
  const extras = (kind: number) => distributor.extras.filter((extra) => extra.kind === kind);
  const lastError = async (): Promise<string> => {
    const request = { state: TargetState.TARGET_STATE_ANY, scrapePool: '' };
    const answer = await scraper.handlers.targets(request, { signal: new AbortController().signal });
    return answer.active[0]!.lastError;
  };
  const histogram = (): FloatHistogram => {
    const last = extras(EXTRA_HISTOGRAM).at(-1)!;
    return decodeHistogram(last.bytes, 0, last.bytes.length).histogram;
  };
  return { distributor, target, begin, next, extras, histogram, lastError };
}

function latency(histogram: Partial<ExposedHistogram> = {}): ExposedFamily {
  return {
    name: 'latency',
    type: 'histogram',
    metrics: [
      {
        histogram: {
          count: 6,
          sum: 2,
          schema: 1,
          zeroThreshold: 0.001,
          positive: { spans: [[0, 4]], deltas: [1, 0, 1, 0] },
          buckets: [[1, 2, { labels: [['id', 'a']], value: 0.5, timestampMs: 1000 }]],
          ...histogram,
        },
      },
    ],
  };
}

const NATIVE = ', scrape_native_histograms: true';
const SERIES = named('latency');

/** A series of the target as the distributor in memory calls it. */
function named(metric: string, labels: Readonly<Record<string, string>> = {}): string {
  const all = { __name__: metric, instance: 'i', job: 'j', ...labels };
  return Labels.from(Object.entries(all)).toString();
}

describe('what is asked for', () => {
  test.each([
    ['', /^application\/openmetrics-text/],
    [
      NATIVE,
      /^application\/vnd\.google\.protobuf;proto=io\.prometheus\.client\.MetricFamily;encoding=delimited;q=0\.6,/,
    ],
    [
      ', scrape_protocols: [PrometheusText0.0.4, PrometheusProto]',
      /^text\/plain;version=0\.0\.4;q=0\.6,application\/vnd/,
    ],
  ])('%s', async (options, accept) => {
    const { target, begin, next } = await createRig(options);
    await begin();
    await next(1);
    expect(target.requests[0]!.headers.accept).toMatch(accept);
  });

  test('fallback_scrape_protocol: a target that does not say what it sends', async () => {
    const { target, begin, next, distributor } = await createRig(
      ', fallback_scrape_protocol: PrometheusProto',
    );
    target.answer = {
      headers: {},
      body: exposition([{ name: 'g', type: 'gauge', metrics: [{ value: 3 }] }]),
    };
    await begin();
    await next();
    expect(distributor.series(named('g')).at(-1)!.value).toBe(3);
  });
});

describe('histograms', () => {
  test('are native where that is asked for, and counted as samples', async () => {
    const { target, begin, next, distributor, extras, histogram } = await createRig(NATIVE);
    target.answer = { headers: PROTOBUF, body: exposition([latency()]) };
    await begin();
    await next();
    expect(extras(EXTRA_HISTOGRAM)[0]).toMatchObject({ series: SERIES });
    expect(histogram()).toMatchObject({
      count: 6,
      schema: 1,
      positive: { indexes: [0, 1, 2, 3], counts: [1, 1, 2, 2] },
    });
    const at = extras(EXTRA_HISTOGRAM)[0]!.timestampMs;
    expect(distributor.series(named('scrape_samples_scraped'))[0]).toMatchObject({
      value: 1,
      timestampMs: at,
    });
    expect(distributor.names().filter((name) => name.includes('latency'))).toEqual([]);
  });

  test('are classic where it is not', async () => {
    const { target, begin, next, distributor, extras } = await createRig(
      ', scrape_protocols: [PrometheusProto]',
    );
    target.answer = { headers: PROTOBUF, body: exposition([latency()]) };
    await begin();
    await next();
    expect(extras(EXTRA_HISTOGRAM)).toEqual([]);
    expect(distributor.names().filter((name) => name.includes('latency'))).toEqual([
      named('latency_bucket', { le: '+Inf' }),
      named('latency_bucket', { le: '1.0' }),
      named('latency_count'),
      named('latency_sum'),
    ]);
  });

  test('end with a staleness marker when the target no longer has them', async () => {
    const { target, begin, next, distributor } = await createRig(NATIVE);
    target.answer = { headers: PROTOBUF, body: exposition([latency()]) };
    await begin();
    await next();
    target.answer = { headers: PROTOBUF, body: exposition([]) };
    await next();
    expect(distributor.series(SERIES).map(({ stale }) => stale)).toEqual([true]);
  });

  test('limits: resolution is reduced, and what is too much fails the scrape', async () => {
    const coarse = await createRig(
      `${NATIVE}, native_histogram_bucket_limit: 2, native_histogram_min_bucket_factor: 2`,
    );
    coarse.target.answer = { headers: PROTOBUF, body: exposition([latency()]) };
    await coarse.begin();
    await coarse.next();
    // Schema 0 has buckets 0, 1 and 2; schema -1 has 0 and 1.
    expect(coarse.histogram()).toMatchObject({ schema: -1, positive: { indexes: [0, 1], counts: [1, 5] } });
    const tooMuch = await createRig(`${NATIVE}, native_histogram_bucket_limit: 1`);
    const far = latency({
      positive: {
        spans: [
          [0, 1],
          [5000, 1],
        ],
        deltas: [3, 0],
      },
    });
    tooMuch.target.answer = { headers: PROTOBUF, body: exposition([far]) };
    await tooMuch.begin();
    await tooMuch.next();
    expect(await tooMuch.lastError()).toMatch(/histogram bucket limit exceeded: 2 buckets, the limit is 1/);
  });

  test('an invalid one fails the scrape', async () => {
    const { target, begin, next, lastError, extras } = await createRig(NATIVE);
    target.answer = { headers: PROTOBUF, body: exposition([latency({ count: 7 })]) };
    await begin();
    await next();
    expect(await lastError()).toMatch(/its buckets hold 6 observations, its count is 7/);
    expect(extras(EXTRA_HISTOGRAM)).toEqual([]);
  });

  test('the schema of a factor', () => {
    expect([0, 1, 1.002, 1.0027, 1.1, 1.5, 2, 4, 256, 65_536, 1e9].map(schemaOfFactor)).toEqual([
      8, 8, 8, 8, 2, 0, 0, -1, -3, -4, -4,
    ]);
  });

  test('custom buckets cannot be made coarser', async () => {
    const { target, begin, next, histogram } = await createRig(
      ', scrape_protocols: [PrometheusProto], convert_classic_histograms_to_nhcb: true',
    );
    target.answer = { headers: PROTOBUF, body: exposition([latency()]) };
    await begin();
    await next();
    const converted = histogram();
    expect(converted).toMatchObject({
      schema: -53,
      customBounds: [1],
      positive: { indexes: [0, 1], counts: [2, 4] },
    });
    expect(() => limitHistogram(converted, { bucketLimit: 1, schemaMax: 8 })).toThrow(
      /bucket limit exceeded/,
    );
  });
});

describe('exemplars and start times', () => {
  test('are written once, and again when they change', async () => {
    const { target, begin, next, extras } = await createRig(NATIVE);
    target.answer = { headers: PROTOBUF, body: exposition([latency({ startMs: 5000 })]) };
    await begin();
    await next(4);
    const starts = () => extras(EXTRA_START_TIME).map(({ bytes }) => decodeStartTime(bytes, 0, bytes.length));
    expect(extras(EXTRA_EXEMPLAR)).toMatchObject([{ series: SERIES, timestampMs: 1000 }]);
    expect(starts()).toEqual([5000]);
    target.answer = { headers: PROTOBUF, body: exposition([latency({ startMs: 6000 })]) };
    await next(3);
    expect(starts()).toEqual([5000, 6000]);
    expect(extras(EXTRA_EXEMPLAR)).toHaveLength(1);
  });

  test('of a scrape that failed come with the next one', async () => {
    const { target, begin, next, extras } = await createRig(NATIVE);
    const good = exposition([latency({ startMs: 5000 })]);
    target.answer = { headers: PROTOBUF, body: Buffer.concat([good, Buffer.from([200])]) };
    await begin();
    await next();
    expect([...extras(EXTRA_EXEMPLAR), ...extras(EXTRA_START_TIME)]).toEqual([]);
    target.answer = { headers: PROTOBUF, body: good };
    await next(3);
    expect(extras(EXTRA_EXEMPLAR)).toHaveLength(1);
    expect(extras(EXTRA_START_TIME)).toHaveLength(1);
  });

  test('of OpenMetrics text', async () => {
    const { target, begin, next, extras } = await createRig();
    const body = 'a_total{x="y"} 1 # {id="1",z="ü"} 0.5 1.5\nb_total 2 # {} 3\n# EOF\n';
    target.answer = { headers: OPENMETRICS, body };
    await begin();
    await next(3);
    expect(extras(EXTRA_EXEMPLAR).map(({ series, timestampMs }) => [series, timestampMs])).toEqual([
      [named('a_total', { x: 'y' }), 1500],
      // Without a time of its own it has its sample's.
      [named('b_total'), expect.any(Number)],
    ]);
  });
});
