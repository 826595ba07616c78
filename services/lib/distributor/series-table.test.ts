import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeUtf8 } from '../core/bytes.ts';
import { PAGE_REFERENCES, SeriesTable } from './series-table.ts';

const textOf = (table: SeriesTable, reference: number): string => {
  const { bytes, start, end } = table.labelsOf(reference);
  return Buffer.from(bytes.subarray(start, end)).toString();
};

function add(table: SeriesTable, tenant: number, text: string, tick = 1): number {
  const bytes = encodeUtf8(`..${text}`);
  const known = table.find(tenant, bytes, 2, bytes.length, tick);
  return known >= 0 ? known : table.add(tenant, 3, bytes, 2, bytes.length, tick);
}

test('references count up from 0 and stay', () => {
  const table = new SeriesTable(1);
  const tenant = table.addTenant();
  expect([add(table, tenant, 'a'), add(table, tenant, 'b'), add(table, tenant, 'a')]).toEqual([0, 1, 0]);
  expect(textOf(table, 1)).toBe('b');
  expect(table.live).toBe(2);
});

test('tenants are apart', () => {
  const table = new SeriesTable(1);
  const one = table.addTenant();
  const two = table.addTenant();
  expect(add(table, one, 'a')).toBe(0);
  expect(add(table, two, 'a')).toBe(1);
  expect([table.seriesOf(one), table.seriesOf(two)]).toEqual([1, 1]);
});

test('against a Map: 60,000 series, with forgetting in between', () => {
  const table = new SeriesTable(42);
  const tenant = table.addTenant();
  const model = new Map<string, { reference: number; tick: number }>();
  let state = 7;
  const next = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let highest = -1;
  for (let step = 1; step <= 60_000; step++) {
    const tick = Math.ceil(step / 2000);
    const text = `series ${next(40_000)} ${'x'.repeat(next(40))}`;
    const reference = add(table, tenant, text, tick);
    const known = model.get(text);
    if (known === undefined) {
      expect(reference).toBe(highest + 1);
      highest = reference;
    } else expect(reference).toBe(known.reference);
    model.set(text, { reference, tick });
    if (step % 5000 !== 0) continue;
    let forgotten = 0;
    for (let page = 0; page < table.pages.length; page++) forgotten += table.forgetIdle(page, tick - 4);
    let expected = 0;
    for (const [old, { tick: used }] of model) {
      if (used >= tick - 4) continue;
      model.delete(old);
      expected++;
    }
    expect(forgotten).toBe(expected);
    expect(table.live).toBe(model.size);
  }
  expect(table.pages.some((page) => page === undefined)).toBe(true);
  for (const [text, { reference }] of model) expect(textOf(table, reference)).toBe(text);
});

test('memory follows what is live, not what ever was', () => {
  const table = new SeriesTable(42);
  const tenant = table.addTenant();
  let peak = 0;
  for (let generation = 0; generation < 30; generation++) {
    for (let i = 0; i < PAGE_REFERENCES; i++)
      add(table, tenant, `generation ${generation} pod ${i}`, generation + 1);
    for (let page = 0; page < table.pages.length; page++) table.forgetIdle(page, generation);
    if (generation === 3) peak = table.memoryBytes;
  }
  expect(table.live).toBeLessThanOrEqual(3 * PAGE_REFERENCES);
  expect(table.memoryBytes).toBeLessThan(peak * 1.2);
});

test('equal hashes never make equal series: bytes are compared', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.string({ minLength: 1, maxLength: 40 }), { maxLength: 200 }),
      fc.nat(),
      (texts, seed) => {
        const table = new SeriesTable(seed);
        const tenant = table.addTenant();
        for (const [i, text] of [...texts.entries(), ...texts.entries()])
          expect(add(table, tenant, text)).toBe(i);
      },
    ),
  );
});
