import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { decodeLabels, Labels } from '../../lib/model/labels.ts';
import { ResultFrameWriter, readResultFrame } from '../../lib/wire/frames/result-frame.ts';
import { slice, stitch } from './stitch.ts';

const NEVER = () => undefined;
const STEP_MS = 1000;
const STEPS = 40;

/** Bits of the values of a series by step; a histogram's count beside them. */
type Written = ReadonlyMap<string, ReadonlyMap<number, string>>;

interface Point {
  readonly step: number;
  readonly bits: readonly [number, number];
  readonly isHistogram: boolean;
}

function framesOf(
  series: readonly { readonly name: string; readonly points: readonly Point[] }[],
): Uint8Array[] {
  const writer = new ResultFrameWriter();
  const frames: Uint8Array[] = [];
  for (const { name, points } of series) {
    const times = Float64Array.from(points, ({ step }) => step * STEP_MS);
    const values = new Float64Array(points.length);
    const words = new Uint32Array(values.buffer);
    const histograms = points.map(({ isHistogram, step }) => {
      if (!isHistogram) return undefined;
      const histogram = new FloatHistogram();
      histogram.count = step;
      return histogram;
    });
    for (const [i, { bits }] of points.entries()) words.set(bits, 2 * i);
    const frame = writer.add(Labels.from([['n', name]]), times, values, points.length, histograms);
    if (frame !== undefined) frames.push(frame);
  }
  const last = writer.finish();
  return last === undefined ? frames : [...frames, last];
}

function read(frames: readonly Uint8Array[]): Written {
  const found = new Map<string, Map<number, string>>();
  for (const frame of frames) {
    readResultFrame(frame, (bytes, start, end, timesMs, values, count, histograms) => {
      const own = new Map<number, string>();
      const words = new Uint32Array(values.buffer);
      for (let i = 0; i < count; i++) {
        const histogram = histograms?.[i];
        const bits = histogram === undefined ? `${words[2 * i]},${words[2 * i + 1]}` : `h${histogram.count}`;
        own.set(timesMs[i]!, bits);
      }
      const name = decodeLabels(bytes, start, end).get('n');
      expect(found.has(name)).toBe(false);
      found.set(name, own);
    });
  }
  return found;
}

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const points = fc
  .uniqueArray(
    fc.record({
      step: fc.integer({ min: 0, max: STEPS - 1 }),
      // Not-a-numbers with payloads, infinities and minus zero are among them.
      bits: fc.oneof(
        fc.tuple(word, word),
        fc.constantFrom<[number, number]>([2, 0x7ff00000], [0, 0x80000000], [1, 0x7ff80000]),
      ),
      isHistogram: fc.boolean(),
    }),
    { selector: ({ step }) => step, minLength: 1, maxLength: STEPS },
  )
  .map((list) => list.toSorted((a, b) => a.step - b.step));
const answer = fc
  .uniqueArray(fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), points }), {
    selector: ({ name }) => name,
  })
  .map((list) => list.toSorted((a, b) => (a.name < b.name ? -1 : 1)));

test('what was cut into pieces and put together is what it was, bit for bit and in label order', async () => {
  await fc.assert(
    fc.asyncProperty(answer, fc.uniqueArray(fc.integer({ min: 1, max: STEPS - 1 })), async (series, cuts) => {
      const whole = framesOf(series);
      const bounds = [0, ...cuts.toSorted((a, b) => a - b), STEPS];
      const runs = bounds
        .slice(1)
        .map((to, i) => ({ startMs: bounds[i]! * STEP_MS, endMs: (to - 1) * STEP_MS }));
      const pieces = await slice(whole, runs, NEVER);
      for (const [i, { startMs, endMs }] of runs.entries()) {
        for (const row of read(pieces[i]!).values())
          for (const timeMs of row.keys()) expect(timeMs >= startMs && timeMs <= endMs).toBe(true);
      }
      let charged = 0;
      const rows = await stitch(
        { startMs: 0, endMs: (STEPS - 1) * STEP_MS, stepMs: STEP_MS },
        runs.map((run, i) => ({ ...run, frames: pieces[i]! })),
        (bytes) => (charged += bytes),
        NEVER,
      );
      const frames = await Array.fromAsync(rows.frames(rows.size, NEVER));
      expect(rows.size).toBe(series.length);
      if (series.length > 0) expect(charged).toBeGreaterThan(0);
      expect([...read(frames)]).toEqual([...read(whole)]);
      expect(Buffer.concat(frames)).toEqual(Buffer.concat(whole));
    }),
  );
});

test('of a piece only the steps that are asked for are taken, and rows without any are left out', async () => {
  const point = (step: number): Point => ({ step, bits: [step, 0], isHistogram: false });
  const frames = framesOf([
    { name: 'a', points: [point(0), point(1)] },
    { name: 'b', points: [point(1), point(2), point(3)] },
  ]);
  const grid = { startMs: 2 * STEP_MS, endMs: 3 * STEP_MS, stepMs: STEP_MS };
  const rows = await stitch(grid, [{ ...grid, frames }], () => undefined, NEVER);
  expect([...read(await Array.fromAsync(rows.frames(9, NEVER)))]).toEqual([
    [
      'b',
      new Map([
        [2000, '2,0'],
        [3000, '3,0'],
      ]),
    ],
  ]);
});
