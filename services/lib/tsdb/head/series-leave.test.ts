import { expect, test } from 'vitest';
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
} from '../../../../test/support/head-rig.ts';
import { systemClock } from '../../core/clock.ts';
import type { ChunkSink } from '../../model/chunk-sink.ts';
import { decodeLabels } from '../../model/labels.ts';
import { selectHead } from './head-select.ts';
import { headStatistics } from './head-statistics.ts';

test('series leave when neither memory nor log holds samples, and their ids come back', () => {
  const head = newHead();
  const ids = SERIES.map((entries) => define(head, entries));
  for (const id of ids) appendNumbers(head, id, [[10, 1]], 1);
  appendNumbers(head, ids[0]!, [[1500, 2]], 5);
  expect(drain(head.collectSeries(100)).ids).toEqual(new Uint32Array(0));
  const frozen = head.freeze(0, 1)!;
  expect(drain(head.collectSeries(100)).ids).toEqual(new Uint32Array(0));
  head.drop(frozen.generation);
  expect(drain(head.collectSeries(1)).ids).toEqual(new Uint32Array(0));
  expect(drain(head.collectSeries(2)).ids).toEqual(Uint32Array.from(ids.slice(1)));
  expect(head.seriesCount).toBe(1);
  expect(headStatistics(head, 5).labelPairs).toBe(2);
  expect([...contentOf(head).keys()]).toEqual([NAMES[0]]);
  const another = define(head, { __name__: 'another' });
  expect(ids).not.toContain(another);
  head.allowReuse(head.collection);
  const back = define(head, { __name__: 'fresh' });
  expect(ids).toContain(back);
  appendNumbers(head, back, [[1600, 3]], 6);
  expect([...contentOf(head).keys()].sort()).toEqual([NAMES[0]!, 'fresh'].sort());
});

test('series that get samples or come while others leave stay', () => {
  const head = newHead();
  const many = Array.from({ length: 5000 }, (_, i) => define(head, { __name__: 'm', i: `${i}` }));
  for (const id of many) appendNumbers(head, id, [[10, 1]], 1);
  for (const id of many.slice(0, 4900)) appendNumbers(head, id, [[1500, 1]], 3);
  head.drop(head.freeze(0, 1)!.generation);
  let turns = 0;
  let extra = -1;
  const left = drain(head.collectSeries(2), () => {
    if (turns++ > 0) return;
    appendNumbers(head, many[4950]!, [[1600, 5]], 3);
    extra = define(head, { __name__: 'new' });
    appendNumbers(head, extra, [[1700, 6]], 3);
  });
  expect(turns).toBeGreaterThan(0);
  expect(left.ids).toEqual(Uint32Array.from([...many.slice(4900, 4950), ...many.slice(4951)]));
  expect(head.seriesCount).toBe(4902);
  expect(contentOf(head).size).toBe(4902);
  expect(define(head, { __name__: 'm', i: '4950' })).toBe(many[4950]);
});

test('replaced series cost no memory, and labels are found all the same, when many leave and more than these come', () => {
  const head = newHead();
  const held: number[] = [];
  for (let round = 1; round <= 8; round++) {
    // Those of two rounds are there at a time; more come in the last one than there ever were.
    const count = round === 8 ? 8000 : 2000;
    const names = Array.from({ length: count }, (_, i) => ({ __name__: 'm', i: `${round}-${i}` }));
    const ids = names.map((entries) => define(head, entries));
    for (const id of ids) appendNumbers(head, id, [[round * RANGE_MS, round]], round);
    for (const startMs of head.closedRangeStarts(round * RANGE_MS - 1)) {
      head.drop(head.freeze(startMs, round)!.generation);
    }
    drain(head.collectSeries(round));
    head.allowReuse(head.collection);
    held.push(head.index.bytesHeld);
    expect(names.map((entries) => define(head, entries))).toEqual(ids);
    expect(head.seriesCount).toBe(count + (round === 1 ? 0 : 2000));
    expect(head.index.postings('i', `${round}-7`)).toEqual(Uint32Array.of(ids[7]!));
  }
  // Room for a quarter more is kept, and no more than that gathers.
  expect(Math.max(...held.slice(3, 7))).toBeLessThan(held[2]! * 1.25);
  expect(held[6]).toBeLessThanOrEqual(held[4]!);
});

test('a selection that is under way never shows another series under an id that left', () => {
  const head = newHead();
  const many = Array.from({ length: 3000 }, (_, i) => define(head, { __name__: 'm', i: `${i}` }));
  for (const id of many) appendNumbers(head, id, [[10, 1]], 1);
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => (nowMs += 100) };
  const seen: string[] = [];
  const sink: ChunkSink = {
    beginSeries: (bytes, start, end) => void seen.push(decodeLabels(bytes, start, end).get('__name__')),
    chunk: () => undefined,
  };
  const selection = selectHead(
    head,
    { ...ALL, matchers: [{ name: '__name__', operator: '=', value: 'm' }] },
    clock,
    sink,
  );
  for (let i = 0; i < 5; i++) selection.next();
  expect(seen.length).toBeGreaterThan(0);
  expect(seen.length).toBeLessThan(3000);
  head.drop(head.freeze(0, 1)!.generation);
  drain(head.collectSeries(2));
  head.allowReuse(head.collection);
  for (let i = 0; i < 3000; i++)
    appendNumbers(head, define(head, { __name__: 'other', i: `${i}` }), [[20, 1]], 3);
  drain(selection);
  expect(new Set(seen)).toEqual(new Set(['m']));
  // The selection over, ids are free again.
  const before = head.idEnd;
  define(head, { __name__: 'last' });
  expect(head.idEnd).toBe(before);
});
