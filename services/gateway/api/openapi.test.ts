// Every answer against Prometheus' own description of its API (OpenAPI 3.1, schemas with additionalProperties: false).
// String results are left out: the description wants their time as a string, Prometheus itself sends a number.
import { readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { type GatewayRig, playResult, playSeries, startGateway } from '../../../test/support/gateway-rig.ts';
import { playWaves } from '../../../test/support/played-page.ts';
import { hasShared, sharedPath } from '../../../test/support/shared.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { CHUNK_EXEMPLARS } from '../../lib/model/chunk-sink.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { ExemplarList } from '../../lib/tsdb/chunk/exemplar-list.ts';
import { ResultType, type SeriesResponse } from '../../lib/wire/contracts.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';

const FILE = [
  'conformance',
  'api',
  'prometheus+prometheus',
  'web',
  'api',
  'v1',
  'testdata',
  'openapi_3.1_golden.yaml',
];

interface Operation {
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

const has = hasShared(...FILE);

describe.skipIf(!has)('OpenAPI 3.1 of Prometheus', () => {
  let rig: GatewayRig;
  let document: { paths: Record<string, Record<string, Operation>>; components: object };
  const ajv = new Ajv2020.default({ strict: false, validateFormats: false, allErrors: true });

  beforeAll(async () => {
    document = parse(readFileSync(sharedPath(...FILE), 'utf8')) as typeof document;
    ajv.addSchema({ $id: 'openapi', components: document.components });
    rig = await startGateway(played(), { adminApiEnabled: true });
  });
  afterAll(() => rig.close());

  function validate(path: string, method: string, status: '200' | 'default', body: unknown): void {
    const { schema } = Object.values(document.paths[path]![method]!.responses[status]!.content!)[0]!;
    const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as object;
    const isValid = ajv.validate(absolute, body);
    expect(ajv.errorsText(ajv.errors)).toBe('No errors');
    expect(isValid).toBe(true);
  }

  const RANGE = 'start=1000&end=2000&step=10';
  test.each([
    ['/query', 'query=up&stats=all'],
    ['/query', 'query=scalar'],
    ['/query_range', `query=up&${RANGE}`],
    ['/format_query', 'query=foo/bar'],
    ['/parse_query', 'query=sum(rate(foo[5m]))'],
    ['/labels', ''],
    ['/series', 'match[]=up'],
    ['/query_exemplars', `query=up&${RANGE}`],
  ])('%s?%s by GET and POST', async (path, query) => {
    const got = await fetch(`${rig.url}/api/v1${path}?${query}`);
    expect(got.status).toBe(200);
    validate(path, 'get', '200', await got.json());
    const posted = await fetch(`${rig.url}/api/v1${path}`, {
      method: 'POST',
      body: new URLSearchParams(query),
    });
    expect(posted.status).toBe(200);
    validate(path, 'post', '200', await posted.json());
  });

  test.each([
    ['/label/{name}/values', '/label/job/values'],
    ['/metadata', '/metadata'],
    ['/scrape_pools', '/scrape_pools'],
    ['/targets', '/targets'],
    ['/rules', '/rules'],
    ['/alerts', '/alerts'],
    ['/alertmanagers', '/alertmanagers'],
    ['/status/config', '/status/config'],
    ['/status/runtimeinfo', '/status/runtimeinfo'],
    ['/status/buildinfo', '/status/buildinfo'],
    ['/status/flags', '/status/flags'],
    ['/status/tsdb', '/status/tsdb'],
    ['/status/tsdb/blocks', '/status/tsdb/blocks'],
    ['/status/walreplay', '/status/walreplay'],
    ['/features', '/features'],
  ])('%s', async (path, called) => {
    const response = await fetch(`${rig.url}/api/v1${called}`);
    expect(response.status).toBe(200);
    validate(path, 'get', '200', await response.json());
  });

  test.each([
    ['/query', '?time=x'],
    ['/query_range', '?query=up'],
    ['/series', ''],
    ['/query_exemplars', '?query=up{'],
    ['/rules', '?type=x'],
  ])('errors of %s%s', async (path, query) => {
    const response = await fetch(`${rig.url}/api/v1${path}${query}`);
    expect(response.status).toBe(400);
    validate(path, 'get', 'default', await response.json());
  });

  test('the checker itself refuses what is wrong', () => {
    expect(() => validate('/labels', 'get', '200', { status: 'success', data: [1] })).toThrow();
    expect(() => validate('/labels', 'get', '200', { status: 'success', data: [], extra: 1 })).toThrow();
  });
});

/** One exemplar of one series, as a querier sends it. */
async function* playExemplars(): AsyncGenerator<SeriesResponse> {
  const writer = new SeriesFrameWriter();
  const labels = new ByteWriter(64);
  encodeLabels(Labels.from([['__name__', 'up']]), labels);
  const content = new ByteWriter(64);
  content.f64(0.5);
  encodeLabels(Labels.from([['trace_id', 'x']]), content);
  const list = new ExemplarList();
  list.add(1500, content.take());
  const chunk = new ByteWriter(64);
  list.encode(0, 1, chunk);
  writer.beginSeries(labels.bytes, 0, labels.length);
  writer.chunk(CHUNK_EXEMPLARS, 1500, 1500, chunk.bytes, 0, chunk.length);
  for (const frame of writer.finish()) yield { frame, truncated: false };
}

function played(): Parameters<typeof startGateway>[0] {
  const waves = playWaves([{ __name__: 'up', job: 'a' }, { job: 'b' }]);
  const counts = [{ name: 'up', value: 2 }];
  return {
    ...waves,
    querier: {
      ...waves.querier,
      query: (request, context) => {
        if (request.query === 'scalar') {
          return playResult(ResultType.RESULT_TYPE_SCALAR, [{ labels: {}, samples: [[1000, 2]] }]);
        }
        return waves.querier!.query!(request, context);
      },
      series: () => playSeries([{ __name__: 'up', job: 'a' }], true),
      exemplars: () => playExemplars(),
      metadata: async () => ({ metadata: [{ metric: 'up', type: 'gauge', help: 'Up.', unit: '' }] }),
      headStatistics: async () => ({
        series: 1,
        labelPairs: 1,
        chunks: 1,
        minTimeMs: 1,
        maxTimeMs: 2,
        seriesCountByMetricName: counts,
        labelValueCountByLabelName: counts,
        memoryInBytesByLabelName: counts,
        seriesCountByLabelValuePair: counts,
      }),
    },
    store: {
      listBlocks: async () => ({
        blocks: [
          {
            tenant: 'anonymous',
            blockId: '0123456789abcdef0123456789abcdef',
            minTimeMs: 7_200_000,
            maxTimeMs: 14_399_999,
            series: 1,
            samples: 2,
            chunks: 1,
            sizeBytes: 100,
            partitions: [0],
          },
        ],
      }),
    },
    alertEvaluator: {
      ruleGroups: async () => ({
        groups: [
          {
            name: 'g',
            file: '/f.yaml',
            intervalSeconds: 60,
            limit: 0,
            lastEvaluationMs: 0,
            evaluationSeconds: 0,
            rules: [
              {
                name: 'A',
                query: 'up == 0',
                labels: {},
                health: 'ok',
                lastError: '',
                lastEvaluationMs: 1000,
                evaluationSeconds: 0.1,
                alerting: {
                  forSeconds: 0,
                  keepFiringForSeconds: 0,
                  annotations: {},
                  state: 'firing',
                  alerts: [
                    {
                      labels: { alertname: 'A' },
                      annotations: {},
                      state: 'firing',
                      activeAtMs: 1000,
                      keepFiringSinceMs: 2000,
                      value: 0,
                    },
                  ],
                },
              },
            ],
          },
        ],
      }),
      alertmanagers: async () => ({ active: ['http://a:9093'], dropped: [] }),
    },
  };
}
