// Exposition corpora: what a real Prometheus 2.42 made of the same bytes (up or down, how many samples), and the OpenMetrics
// parser suite. We accept what Prometheus accepts and refuse what it refuses; the suite's further rules are optional for it
// and for us.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import { normaliseBound } from '../../services/lib/exposition/bucket-label.ts';
import { ExpositionError, type ExpositionSink } from '../../services/lib/exposition/exposition-sink.ts';
import { parseOpenMetrics } from '../../services/lib/exposition/openmetrics-parser.ts';
import { ProtobufParser } from '../../services/lib/exposition/protobuf-parser.ts';
import { readSeriesText } from '../../services/lib/exposition/series-text.ts';
import { parseText } from '../../services/lib/exposition/text-parser.ts';
import { hasShared, sharedPath } from '../support/shared.ts';

interface Verdict {
  readonly kind?: string;
  readonly file: string;
  readonly case: string;
  readonly shouldParse?: boolean;
  readonly prometheus_2_42_scrape?: 'up' | 'down';
  readonly samples_scraped?: number;
}

/** Refused by Prometheus 2.42 and accepted by 3: its parser no longer looks at these. May only shrink. */
const ACCEPTED_SINCE_3: Readonly<Record<string, string>> = {
  bad_exemplars_on_unallowed_metric_types_1: 'exemplars on any metric',
  bad_exemplars_on_unallowed_metric_types_2: 'exemplars on any metric',
  bad_exemplars_on_unallowed_samples_0: 'exemplars on any metric',
  bad_exemplars_on_unallowed_samples_1: 'exemplars on any metric',
  bad_exemplars_on_unallowed_samples_3: 'exemplars on any metric',
  bad_missing_or_extra_commas_2: 'a comma before the closing brace',
};
const ACCEPTED_SINCE_3_MAX = 6;

const present = hasShared('conformance', 'exposition', 'index.jsonl');

function readVerdicts(name: string): readonly Verdict[] {
  if (!present) return [];
  return readFileSync(sharedPath('conformance', 'exposition', name), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Verdict);
}

/** Counts samples, and reads the labels of each, which may fail as well. */
function countSamples(bytes: Uint8Array, openMetrics: boolean): number {
  let samples = 0;
  const sink: ExpositionSink = {
    recognise: () => 0,
    sample: (all, start, end) => {
      expect(readSeriesText(all, start, end)[0]).toBe('__name__');
      samples++;
    },
    histogram: () => {},
    exemplar: () => {},
    startTime: () => {},
    metadata: () => {},
  };
  (openMetrics ? parseOpenMetrics : parseText)(bytes, bytes.length, sink);
  return samples;
}

describe.skipIf(!present)('payloads that Prometheus 2.42 scraped', () => {
  const verdicts = readVerdicts('index.jsonl').filter((each) => each.prometheus_2_42_scrape !== undefined);
  const read = (file: string): Uint8Array => readFileSync(sharedPath('conformance', 'exposition', file));

  test('the corpus is complete', () => {
    expect(verdicts.filter((each) => each.prometheus_2_42_scrape === 'up').length).toBeGreaterThanOrEqual(84);
    expect(verdicts.filter((each) => each.prometheus_2_42_scrape === 'down').length).toBeGreaterThanOrEqual(
      15,
    );
  });

  test.each(verdicts.filter((each) => each.prometheus_2_42_scrape === 'up'))(
    '$file: $samples_scraped samples',
    (verdict) => {
      expect(countSamples(read(verdict.file), verdict.kind === 'openmetrics')).toBe(verdict.samples_scraped);
    },
  );

  test.each(verdicts.filter((each) => each.prometheus_2_42_scrape === 'down'))(
    '$file is refused',
    (verdict) => {
      expect(() => countSamples(read(verdict.file), verdict.kind === 'openmetrics')).toThrow(AppError);
    },
  );
});

describe.skipIf(!present)('protobuf payloads', () => {
  const read = (file: string): Uint8Array => readFileSync(sharedPath('conformance', 'exposition', file));

  /** Samples as text, whatever their order. */
  function samplesOf(parse: (sink: ExpositionSink) => void): string[] {
    const samples: string[] = [];
    parse({
      recognise: () => 0,
      sample: (all, start, end, value) => {
        const [, name, ...labels] = readSeriesText(all, start, end);
        samples.push(`${name} ${labels.map(normaliseBound).join(' ')} ${value}`);
      },
      histogram: () => {},
      exemplar: () => {},
      startTime: () => {},
      metadata: () => {},
    });
    return samples.sort();
  }

  function protobufSamples(file: string): string[] {
    const bytes = read(file);
    const choice = { native: false, classicToo: false, customBuckets: false };
    return samplesOf((sink) => new ProtobufParser().parse(bytes, bytes.length, choice, sink));
  }

  test('the same scrape as text and as protobuf has the same samples', () => {
    const text = read('prometheus+common/expfmt/testdata/text');
    const fromText = samplesOf((sink) => parseText(text, text.length, sink));
    const fromProtobuf = protobufSamples('prometheus+common/expfmt/testdata/protobuf');
    expect(fromText).toHaveLength(248);
    expect(fromProtobuf.map(seriesOf)).toEqual(fromText.map(seriesOf));
  });

  test('a gauge and counters of telegraf', () => {
    expect(
      protobufSamples('influxdata+telegraf/plugins/parsers/prometheus/testcases/protobuf/input.bin'),
    ).toEqual([
      'swap_free host omsk 977911808',
      'swap_in host omsk 2031616',
      'swap_out host omsk 15790080',
      'swap_total host omsk 993185792',
      'swap_used host omsk 15273984',
      'swap_used_percent host omsk 1.5378778193395661',
    ]);
  });

  test('a message of another schema is refused', () => {
    const file = 'influxdata+telegraf/plugins/parsers/openmetrics/testcases/protobuf/input.bin';
    expect(() => protobufSamples(file)).toThrow(AppError);
  });
});

/** The two captures were taken at different moments. */
function seriesOf(sample: string): string {
  return sample.slice(0, sample.lastIndexOf(' '));
}

describe.skipIf(!present)('OpenMetrics parser suite', () => {
  const folder = suiteFolder();
  const verdicts = readVerdicts('openmetrics-cases.jsonl');
  const read = (name: string): Uint8Array => readFileSync(`${folder}/${name}/metrics`);

  test('the suite is complete', () => {
    expect(verdicts.length).toBeGreaterThanOrEqual(148);
    expect(Object.keys(ACCEPTED_SINCE_3).length).toBeLessThanOrEqual(ACCEPTED_SINCE_3_MAX);
  });

  test.each(verdicts.filter((each) => each.shouldParse))('$case parses', (verdict) => {
    expect(countSamples(read(verdict.case), true)).toBe(verdict.samples_scraped);
  });

  const refused = verdicts.filter((each) => each.prometheus_2_42_scrape === 'down');

  test.each(refused.filter((each) => each.case in ACCEPTED_SINCE_3))(
    '$case is accepted as in 3.x',
    (verdict) => {
      expect(countSamples(read(verdict.case), true)).toBe(1);
    },
  );

  test.each(refused.filter((each) => !(each.case in ACCEPTED_SINCE_3)))('$case is refused', (verdict) => {
    expect(() => countSamples(read(verdict.case), true)).toThrow(AppError);
  });
});

function suiteFolder(): string {
  if (!present) return '';
  const root = sharedPath('conformance', 'exposition', 'OpenObservability+OpenMetrics');
  const found = readdirSync(root, { recursive: true, encoding: 'utf8' }).find((name) =>
    name.endsWith('bad_blank_line'),
  );
  return `${root}/${found!.slice(0, -'/bad_blank_line'.length)}`;
}

describe.skipIf(!present)('errors', () => {
  test('an error of the parser names the line', () => {
    const bytes = Buffer.from('a 1\nb 2\nc x\n');
    expect(() => countSamples(bytes, false)).toThrow(ExpositionError);
    expect(() => countSamples(bytes, false)).toThrow('line 3: "x" is not a number');
  });
});
