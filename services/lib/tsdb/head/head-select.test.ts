import { expect, test, vi } from 'vitest';
import {
  ALL,
  appendNumbers,
  contentOf,
  define,
  drain,
  NAMES,
  newHead,
  RANGE_MS,
  SERIES,
  wordsOfNumber,
} from '../../../../test/support/head-rig.ts';
import { systemClock } from '../../core/clock.ts';
import { Labels } from '../../model/labels.ts';
import { compileMatcher, type Matcher } from '../../model/matcher.ts';
import { labelsOfHead } from './head-select.ts';

const MATCHERS: Matcher[] = [
  { name: '__name__', operator: '=', value: 'up' },
  { name: '__name__', operator: '=', value: 'nothing' },
  { name: '__name__', operator: '!=', value: 'up' },
  { name: 'job', operator: '=', value: '' },
  { name: 'job', operator: '!=', value: '' },
  { name: 'job', operator: '=~', value: 'a|b' },
  { name: 'job', operator: '=~', value: 'a|' },
  { name: 'job', operator: '!~', value: '[a-b]+' },
  { name: 'job', operator: '=~', value: '.*' },
  { name: 'job', operator: '=~', value: '.+' },
  { name: 'zone', operator: '!=', value: 'x' },
  { name: 'zone', operator: '=~', value: '(x|y)?' },
  { name: 'absent', operator: '!~', value: '.+' },
];

test('matchers select as deciding series by series does', () => {
  const head = newHead();
  for (const entries of SERIES) appendNumbers(head, define(head, entries), [[1, 1]]);
  for (const first of MATCHERS) {
    for (const second of MATCHERS) {
      const matchers = [first, second];
      const expected = SERIES.filter((entries) =>
        matchers.every((m) => compileMatcher(m)((entries as Record<string, string>)[m.name] ?? '')),
      ).map((entries) => Labels.from(Object.entries(entries)).toString());
      expect([...contentOf(head, { matchers }).keys()].sort()).toEqual(expected.sort());
    }
  }
});

test('only chunks that overlap and only wanted partitions are handed out', () => {
  const head = newHead(2);
  const early = define(head, SERIES[0]!, 3);
  const late = define(head, SERIES[1]!, 4);
  appendNumbers(head, early, [
    [1, 1],
    [2, 2],
    [3, 3],
    [4, 4],
    [5, 5],
  ]);
  appendNumbers(head, late, [[2500, 1]]);
  expect([...contentOf(head, { minTimeMs: 3, maxTimeMs: 4 })]).toEqual([
    [
      NAMES[0]!,
      [
        [3, ...wordsOfNumber(3)],
        [4, ...wordsOfNumber(4)],
      ],
    ],
  ]);
  expect([...contentOf(head, { minTimeMs: 6, maxTimeMs: 2499 }).keys()]).toEqual([]);
  expect([...contentOf(head, { minTimeMs: 5, maxTimeMs: 2500 }).keys()]).toEqual([NAMES[0], NAMES[1]]);
  expect([...contentOf(head, { partitions: new Set([4]) }).keys()]).toEqual([NAMES[1]]);
  expect(() => contentOf(head, { seriesMax: 1 })).toThrow(/more than 1 series/);
});

test('label names and values, with and without matchers, cut at the limit', () => {
  const head = newHead();
  for (const entries of SERIES) appendNumbers(head, define(head, entries), [[1, 1]]);
  const labels = (name: string, matchers: Matcher[], limit = 0) =>
    drain(labelsOfHead(head, { ...ALL, matchers }, name, limit, systemClock));
  expect(labels('', [])).toEqual({ values: ['__name__', 'job', 'zone'], truncated: false });
  expect(labels('job', [])).toEqual({ values: ['a', 'b'], truncated: false });
  expect(labels('job', [], 1)).toEqual({ values: ['a'], truncated: true });
  expect(labels('', [MATCHERS[2]!])).toEqual({ values: ['__name__'], truncated: false });
  expect(labels('job', [{ name: 'zone', operator: '=', value: 'x' }])).toEqual({
    values: ['b'],
    truncated: false,
  });
  expect(labels('unknown', [])).toEqual({ values: [], truncated: false });
});

test('where no range of the head has the times, no posting is looked at', () => {
  const head = newHead();
  for (const entries of SERIES) appendNumbers(head, define(head, entries), [[RANGE_MS + 1, 1]]);
  const postings = vi.spyOn(head.index, 'postings');
  const matchers: Matcher[] = [{ name: 'job', operator: '=', value: 'a' }];
  const labelsIn = (minTimeMs: number, maxTimeMs: number) =>
    drain(labelsOfHead(head, { ...ALL, matchers, minTimeMs, maxTimeMs }, 'job', 0, systemClock)).values;
  for (const [minTimeMs, maxTimeMs] of [
    [0, RANGE_MS - 1],
    [2 * RANGE_MS, 9 * RANGE_MS],
  ] as const) {
    expect([...contentOf(head, { matchers, minTimeMs, maxTimeMs })]).toEqual([]);
    expect(labelsIn(minTimeMs, maxTimeMs)).toEqual([]);
  }
  expect(postings).not.toHaveBeenCalled();
  expect(labelsIn(RANGE_MS, 2 * RANGE_MS)).toEqual(['a']);
  expect(postings).toHaveBeenCalled();
});

test('labels of most series are those that a look at each series finds', () => {
  const head = newHead();
  for (let i = 0; i < 4000; i++) {
    const id = define(head, {
      __name__: i % 5 === 0 ? 'up' : 'down',
      job: i < 3990 ? 'a' : 'b',
      pod: `p${i % 300}`,
      ...(i % 1000 === 7 ? { rare: `r${i}` } : {}),
      ...(i === 3995 ? { elsewhere: 'x' } : {}),
    });
    // A tenth lies behind the time range; some have nothing.
    if (i % 97 !== 0) appendNumbers(head, id, [[i % 10 === 3 || i === 7 ? 5000 : 100, 1]]);
  }
  const matchersOf: Matcher[][] = [
    [{ name: 'job', operator: '=', value: 'a' }],
    [{ name: 'pod', operator: '!=', value: 'p7' }],
    [{ name: '__name__', operator: '=~', value: 'up|down' }],
  ];
  for (const matchers of matchersOf) {
    for (const partitions of [undefined, new Set([0]), new Set([99])]) {
      const selection = { minTimeMs: 50, maxTimeMs: 200, partitions };
      const series = [...contentOf(head, { ...selection, matchers }).keys()];
      const labelsIn = (pattern: RegExp) =>
        [
          ...new Set(series.flatMap((text) => Array.from(text.matchAll(pattern), (found) => found[1]!))),
        ].sort();
      const list = (name: string) =>
        drain(labelsOfHead(head, { ...ALL, ...selection, matchers }, name, 0, systemClock)).values;
      expect(list('pod')).toEqual(labelsIn(/pod="(.*?)"/g));
      expect(list('rare')).toEqual(labelsIn(/rare="(.*?)"/g));
      expect(list('').filter((name) => name !== '__name__')).toEqual(labelsIn(/([a-z]+)="/g));
      expect(list('elsewhere')).toEqual(labelsIn(/elsewhere="(.*?)"/g));
    }
  }
});
