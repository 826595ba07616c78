import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DROPPED, SeriesCache } from './series-cache.ts';
import { SharedTexts } from './shared-texts.ts';

/** Scrapes `lines` as the exposition appender does; the references seen, and those that ended. */
function scrape(
  cache: SeriesCache,
  lines: readonly string[],
  references: Map<string, number>,
): { seen: number[]; stale: number[]; resolved: number } {
  const bytes = Buffer.from(`${lines.map((line) => `${line} 1\n`).join('')}`);
  cache.begin();
  const seen: number[] = [];
  let resolved = 0;
  let at = 0;
  for (const line of lines) {
    const length = Buffer.byteLength(line);
    const known = cache.recognise(bytes, at, bytes.length);
    if (known > 0) expect(known).toBe(length);
    let entry = cache.find(bytes, at, at + length);
    if (entry < 0) {
      resolved++;
      const dropped = line.startsWith('drop');
      if (!dropped && !references.has(line)) references.set(line, references.size + 100);
      cache.add(bytes, at, at + length, dropped ? DROPPED : cache.slotFor(references.get(line)!), 0);
      entry = cache.find(bytes, at, at + length);
    }
    const slot = cache.slotOf(entry);
    if (slot >= 0 && cache.markSeen(slot)) seen.push(cache.referenceOf(slot));
    at += length + 3;
  }
  const stale: number[] = [];
  cache.end(true, (reference) => stale.push(reference));
  return { seen, stale, resolved };
}

describe('SeriesCache', () => {
  test('a text that begins like another is not taken for it', () => {
    const cache = new SeriesCache(new SharedTexts());
    const bytes = Buffer.from('foo 1\nfoo{a="b"} 1\nfoobar 1\nfoo {a="b"} 1\nfoo');
    cache.begin();
    cache.add(bytes, 0, 3, cache.slotFor(7), 0);
    cache.end(true, () => {});
    cache.begin();
    expect(cache.recognise(bytes, 0, bytes.length)).toBe(3);
    for (const start of [6, 19, 28, 42]) {
      cache.begin();
      expect(cache.recognise(bytes, start, bytes.length)).toBe(0);
    }
  });

  test('a failed scrape ends what was live, and only that', () => {
    const cache = new SeriesCache(new SharedTexts());
    const references = new Map<string, number>();
    scrape(cache, ['a', 'b'], references);
    const stale: number[] = [];
    cache.begin();
    cache.end(false, (reference) => stale.push(reference));
    expect(stale).toEqual([100, 101]);
    stale.length = 0;
    cache.begin();
    cache.end(false, (reference) => stale.push(reference));
    expect(stale).toEqual([]);
    expect(scrape(cache, ['b'], references)).toMatchObject({ seen: [101], stale: [], resolved: 0 });
  });

  test('forgotten texts keep what is live', () => {
    const cache = new SeriesCache(new SharedTexts());
    const references = new Map<string, number>();
    scrape(cache, ['a', 'b'], references);
    cache.forgetTexts();
    expect(scrape(cache, ['b', 'c'], references)).toEqual({ seen: [101, 102], stale: [100], resolved: 2 });
  });

  test('churn does not make it grow', () => {
    const cache = new SeriesCache(new SharedTexts());
    const references = new Map<string, number>();
    for (let round = 0; round < 50; round++) {
      const lines = Array.from({ length: 500 }, (_, i) => `m{id="${round * 500 + i}"}`);
      const { stale, seen } = scrape(cache, [...lines, 'fixed'], references);
      expect(seen).toHaveLength(501);
      expect(stale).toHaveLength(round === 0 ? 0 : 500);
    }
    expect(cache.entries).toBeLessThan(2600);
    expect(cache.slots).toBeLessThan(2600);
    expect(scrape(cache, ['fixed'], references).resolved).toBe(0);
  });

  test('resolving again moves every series', () => {
    const cache = new SeriesCache(new SharedTexts());
    const references = new Map<string, number>();
    scrape(cache, ['a', 'bb', 'drop'], references);
    const moved = cache.resolveAgain((_, start, end) => 1000 + end - start);
    expect([...moved]).toEqual([
      [100, 1001],
      [101, 1002],
    ]);
    expect(scrape(cache, ['a'], references)).toEqual({ seen: [1001], stale: [1002], resolved: 0 });
  });

  test('is a map from text to series, whatever the order, beside a dumb one', () => {
    const line = fc.constantFrom(
      'a',
      'b',
      'aa',
      'a{x="1"}',
      'a{x="2"}',
      'b{x="1",y="2"}',
      'drop_a',
      'drop_b',
      'c'.repeat(100),
    );
    fc.assert(
      fc.property(fc.array(fc.array(line, { maxLength: 12 }), { maxLength: 12 }), (scrapes) => {
        const cache = new SeriesCache(new SharedTexts());
        const references = new Map<string, number>();
        let live = new Set<string>();
        const known = new Set<string>();
        for (const lines of scrapes) {
          const wanted = new Set(lines.filter((each) => !each.startsWith('drop')));
          const { seen, stale, resolved } = scrape(cache, lines, references);
          expect(new Set(seen)).toEqual(new Set([...wanted].map((each) => references.get(each)!)));
          expect(seen.length).toBe(wanted.size);
          const ended = [...live].filter((each) => !wanted.has(each));
          expect(new Set(stale)).toEqual(new Set(ended.map((each) => references.get(each)!)));
          expect(resolved).toBe(new Set(lines.filter((each) => !known.has(each))).size);
          for (const each of lines) known.add(each);
          live = wanted;
        }
      }),
      { numRuns: 500 },
    );
  });
});
