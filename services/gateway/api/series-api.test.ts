// Series, labels and metadata over HTTP, with a played querier.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type GatewayRig, playSeries, startGateway } from '../../../test/support/gateway-rig.ts';
import { type LabelSearchRequest, MatchType, type SeriesRequest } from '../../lib/wire/contracts.ts';
import { TIME_MS_MAX, TIME_MS_MIN } from '../http/parameters.ts';

let rig: GatewayRig;
let searched: (SeriesRequest | LabelSearchRequest)[];
let truncated: boolean;

beforeEach(async () => {
  searched = [];
  truncated = false;
  rig = await startGateway({
    querier: {
      series: (request) => {
        searched.push(request);
        return playSeries([{ __name__: 'up', job: 'a"b' }, { __name__: 'up' }], truncated);
      },
      labels: async (request) => {
        searched.push(request);
        return { values: ['__name__', 'job'], truncated, warnings: ['half is missing'] };
      },
      metadata: async () => ({
        metadata: [
          { metric: 'a', type: 'gauge', help: 'one', unit: '' },
          { metric: 'a', type: 'counter', help: 'two', unit: 'bytes' },
          { metric: '__proto__', type: 'gauge', help: 'x', unit: '' },
        ],
      }),
    },
  });
});
afterEach(() => rig.close());

async function get(path: string): Promise<string> {
  return await (await fetch(`${rig.url}/api/v1/${path}`)).text();
}

const bad = (message: string) => JSON.stringify({ status: 'error', errorType: 'bad_data', error: message });

describe('series', () => {
  test('matchers, range and limit go to the querier, label sets come back', async () => {
    const query = new URLSearchParams({ start: '1', end: '2.5', limit: '7' });
    query.append('match[]', 'up{job!="x"}');
    query.append('match[]', '{a=~"b.*",c!~"d"}');
    expect(await get(`series?${query.toString()}`)).toBe(
      '{"status":"success","data":[{"__name__":"up","job":"a\\"b"},{"__name__":"up"}]}',
    );
    expect(searched).toMatchObject([{ minTimeMs: 1000, maxTimeMs: 2500, limit: 7 }]);
    expect(
      searched[0]!.sets.map(({ matchers }) => matchers.map(({ type, name, value }) => [type, name, value])),
    ).toEqual([
      expect.arrayContaining([
        [MatchType.MATCH_TYPE_EQUAL, '__name__', 'up'],
        [MatchType.MATCH_TYPE_NOT_EQUAL, 'job', 'x'],
      ]),
      [
        [MatchType.MATCH_TYPE_REGEX, 'a', 'b.*'],
        [MatchType.MATCH_TYPE_NOT_REGEX, 'c', 'd'],
      ],
    ]);
  });

  test('a cut answer says so', async () => {
    truncated = true;
    expect(JSON.parse(await get('series?match[]=up')).warnings).toEqual(['results truncated due to limit']);
  });

  test.each([
    ['', 'no match[] parameter provided'],
    ['match[]={a=""}', 'invalid parameter "match[]": match[] must contain at least one non-empty matcher'],
    ['match[]={a=~".*"}', 'invalid parameter "match[]": match[] must contain at least one non-empty matcher'],
    [
      'match[]=up&start=x',
      'invalid parameter "start": invalid time value for \'start\': cannot parse "x" to a valid timestamp',
    ],
    ['match[]=up&limit=x', 'invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax'],
  ])('?%s is refused', async (query, message) => {
    expect(await get(`series?${query}`)).toBe(bad(message));
    expect(searched).toEqual([]);
  });

  test('too many selectors are refused before any is parsed', async () => {
    const query = new URLSearchParams();
    for (let i = 0; i <= 1000; i++) query.append('match[]', '{');
    const response = await fetch(`${rig.url}/api/v1/series`, { method: 'POST', body: query });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('1001 selectors of 1001 characters are over the limit');
  });

  test('what is no selector is refused with its position', async () => {
    expect(JSON.parse(await get('series?match[]=up%2B1')).error).toMatch(
      /^invalid parameter "match\[\]": 1:3: parse error: /,
    );
  });

  test('by form, too', async () => {
    const response = await fetch(`${rig.url}/api/v1/series`, {
      method: 'POST',
      body: new URLSearchParams({ 'match[]': 'up' }),
    });
    expect(response.status).toBe(200);
    expect(searched).toMatchObject([{ minTimeMs: TIME_MS_MIN, maxTimeMs: TIME_MS_MAX, limit: 0 }]);
  });
});

describe('labels', () => {
  test('names', async () => {
    expect(await get('labels')).toBe(
      '{"status":"success","data":["__name__","job"],"warnings":["half is missing"]}',
    );
    expect(searched).toMatchObject([{ labelName: '', sets: [] }]);
  });

  test.each([
    ['job', 'job'],
    ['U__http_2e_code', 'http.code'],
    ['http.code', 'http.code'],
    ['a%20b', 'a b'],
  ])('values of %s', async (segment, labelName) => {
    truncated = true;
    const body = JSON.parse(await get(`label/${segment}/values?match[]=up&limit=2`));
    expect(body.warnings).toEqual(['half is missing', 'results truncated due to limit']);
    expect(searched).toMatchObject([{ labelName, limit: 2, sets: [{ matchers: [{ value: 'up' }] }] }]);
  });

  test('an empty name is refused', async () => {
    expect(await get('label/U__/values')).toBe(bad('invalid label name: "U__"'));
  });
});

describe('metadata', () => {
  test('is grouped by metric', async () => {
    expect(await get('metadata')).toBe(
      '{"status":"success","data":{"a":[{"type":"gauge","help":"one","unit":""},{"type":"counter","help":"two",' +
        '"unit":"bytes"}],"__proto__":[{"type":"gauge","help":"x","unit":""}]}}',
    );
  });

  test('limits', async () => {
    expect(Object.keys(JSON.parse(await get('metadata?limit=1')).data)).toEqual(['a']);
    expect(JSON.parse(await get('metadata?limit=0')).data).toEqual({});
    expect(JSON.parse(await get('metadata?limit_per_metric=1')).data.a).toHaveLength(1);
    expect(await get('metadata?limit=x')).toBe(bad('limit must be a number'));
  });
});
