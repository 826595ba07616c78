// Mutated expositions of every format, through parser, series cache and columns as a scrape takes them: each is read or refused, and the
// second scrape of the same bytes, which recognises its series by their texts, gives the same samples as the first.
import { expect, test } from 'vitest';
import { fuzzBytes } from '../../../test/support/byte-fuzz.ts';
import { exposition } from '../../../test/support/exposition-encoder.ts';
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Appender } from '../../lib/distributor/appender.ts';
import { ClassicToCustom } from '../../lib/exposition/classic-to-custom.ts';
import type { ExpositionSink } from '../../lib/exposition/exposition-sink.ts';
import { parseOpenMetrics } from '../../lib/exposition/openmetrics-parser.ts';
import { ProtobufParser } from '../../lib/exposition/protobuf-parser.ts';
import { parseText } from '../../lib/exposition/text-parser.ts';
import { Labels } from '../../lib/model/labels.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import { StartTimeMemory } from '../../lib/model/start-time-memory.ts';
import { WriteBatch } from '../write-batch.ts';
import { type AppendRules, ExpositionAppender } from './exposition-appender.ts';
import { FamilyMetadata, MetadataLines } from './family-metadata.ts';
import { SeriesCache } from './series-cache.ts';
import { SharedTexts } from './shared-texts.ts';

const RULES: AppendRules = {
  targetLabels: Labels.from([['job', 'j']]),
  honorLabels: false,
  honorTimestamps: true,
  trackTimestampsStaleness: true,
  sampleLimit: 0,
  histogramLimits: { bucketLimit: 0, schemaMax: 8 },
  relabel: (labels) => labels,
  limits: { labelLimit: 0, labelNameLengthLimit: 0, labelValueLengthLimit: 0, nameValidation: 'utf8' },
};

type Parse = (bytes: Uint8Array, sink: ExpositionSink) => void;

/** What two scrapes of the same bytes gave, as text; undefined when they were refused. */
function scrapeTwice(bytes: Uint8Array, parse: Parse, converts: boolean): [string, string] | undefined {
  const references = new Map<string, number>();
  const appender: Pick<Appender, 'resolve'> = {
    resolve: (labels) => {
      const known = references.get(labels.key) ?? references.size;
      references.set(labels.key, known);
      return known;
    },
  };
  const sink = new ExpositionAppender(
    new SeriesCache(new SharedTexts()),
    new MetadataLines(new FamilyMetadata()),
    appender as Appender,
    RULES,
    new StartTimeMemory(),
  );
  const converter = converts ? new ClassicToCustom(sink, { keepsClassic: true }) : undefined;
  const scrape = (): string => {
    const batch = new WriteBatch(64);
    sink.begin(batch, 1_000);
    let refusal = '';
    try {
      converter?.begin();
      parse(bytes, converter ?? sink);
      converter?.finish(bytes);
    } catch (caught) {
      if (!(caught instanceof AppError) || caught.code !== 'bad_data') throw caught;
      refusal = caught.message;
    }
    const words = wordsOf(batch.values).subarray(0, 2 * batch.count);
    return `${refusal}|${batch.references.subarray(0, batch.count).join()}|${batch.timestampsMs.subarray(0, batch.count).join()}|${words.join()}`;
  };
  const [first, second] = [scrape(), scrape()];
  expect(second).toBe(first);
  return first.startsWith('|') ? [first, second] : undefined;
}

const TEXT = `# HELP http_requests_total Requests, all of them.
# TYPE http_requests_total counter
http_requests_total{method="get",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}   3
# TYPE rpc histogram
rpc_bucket{le="0.5"} 24054
rpc_bucket{le="+Inf"} 144320
rpc_sum 5.3423e+07
rpc_count 144320
# TYPE q summary
q{quantile="0.5"} NaN
q_sum -Inf
{"dots.in.it",path="C:\\\\DIR\\n \\"x\\""} -0.5e-9
`;
const OPENMETRICS = `# TYPE a counter
# UNIT a_seconds seconds
# HELP a Some text \\n more
a_total{x="1"} 17.5 1520879607.789 # {trace_id="KOO5S4vxi0o"} 0.67
a_created{x="1"} 1520430000.123
# TYPE h histogram
h_bucket{le="0.1"} 8.0 # {} 0.054
h_bucket{le="+Inf"} 17.0 # {id="oHg5SJYRHA0"} 9.8 1520879607.789
h_count 17
h_sum 324789.3
# EOF
`;

const FAMILIES: Parameters<typeof exposition>[0] = [
  { name: 'c', help: 'Count.', type: 'counter', metrics: [{ value: 1, labels: [['a', 'b']], startMs: 5 }] },
  { name: 'g', type: 'gauge', metrics: [{ value: Number.NaN, timestampMs: 1_700_000_000_000 }] },
  { name: 's', type: 'summary', metrics: [{ summary: { count: 1, sum: 1, quantiles: [[0.5, 1]] } }] },
];

test.each<[string, string, Parse, boolean]>([
  ['text', TEXT, (bytes, sink) => parseText(bytes, bytes.length, sink), false],
  ['text, histograms converted', TEXT, (bytes, sink) => parseText(bytes, bytes.length, sink), true],
  ['OpenMetrics', OPENMETRICS, (bytes, sink) => parseOpenMetrics(bytes, bytes.length, sink), false],
  [
    'OpenMetrics, histograms converted',
    OPENMETRICS,
    (bytes, sink) => parseOpenMetrics(bytes, bytes.length, sink),
    true,
  ],
])('mutations of %s', async (name, sample, parse, converts) => {
  const lines = sample.split(/(?<=\n)/);
  await fuzzBytes({
    name,
    samples: [sample, lines.slice(0, 4).join(''), lines.slice(4).join('')].map((each) => encodeUtf8(each)),
    mutationsMax: 10_000,
    answeredShareMin: 0.02,
    read: (bytes) => scrapeTwice(bytes, parse, converts) !== undefined,
  });
});

test('mutations of protobuf', async () => {
  const parser = new ProtobufParser();
  const choice = { native: true, classicToo: true, customBuckets: true };
  const families = exposition(FAMILIES);
  await fuzzBytes({
    name: 'protobuf',
    samples: [new Uint8Array(families)],
    mutationsMax: 10_000,
    answeredShareMin: 0.02,
    read: (bytes) =>
      scrapeTwice(bytes, (own, sink) => parser.parse(own, own.length, choice, sink), false) !== undefined,
  });
});
