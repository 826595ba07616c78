// The rule by which head images are written, over simulated hours: clock, load and disk are numbers. At every moment, the middle of
// writing an image included, a start has to be short; and images may not take more of the disk than the log does times some.
import { expect, test } from 'vitest';
import { ImageRule, StartCost, type StartWork } from './image-rule.ts';

const MIB = 2 ** 20;
const LOOK_MS = 1000;
const options = { imageLogBytes: 64 * MIB, imageIntervalMs: 600_000, imageStartMs: 7000 };

interface Load {
  /** Per second, at a moment. */
  readonly samples: (ms: number) => number;
  readonly series: (ms: number) => number;
  readonly bytesPerSample: number;
  /** Of the image, per second, while appends go on. */
  readonly written: number;
  /** Milliseconds in which nothing may be written, at most, and how often they begin. */
  readonly heldMs?: number;
  readonly heldEveryMs?: number;
  /** What a start takes of what is estimated for the machine of the figures. */
  readonly slowness?: number;
}

const LABEL_BYTES = 100;
const IMAGE_BYTES_PER_SERIES = 280;
const CHUNK_BYTES_PER_SAMPLE = 0.6;

/** What came of it: the longest start, and bytes written for images per byte of log. */
function simulate(load: Load, seconds: number): { startMs: number; amplification: number; images: number } {
  const cost = new StartCost();
  const slowness = load.slowness ?? 1;
  cost.learn({ imageBytes: 0, imageSeries: 0, samples: 1e7, series: 0 }, 2000 * slowness);
  const rule = new ImageRule(options, cost);
  const total = { samples: 0, series: 0, log: 0 };
  let covered = { ...total };
  let image = { bytes: 0, all: 0, series: 0 };
  let writing: { readonly endMs: number; readonly covered: typeof total } | undefined;
  let writtenMs = 0;
  let writeMs = 4000;
  const outcome = { startMs: 0, amplification: 0, images: 0 };
  let imageBytes = 0;
  const stepMs = 100;
  for (let ms = 0; ms < seconds * 1000; ms += stepMs) {
    const samples = (load.samples(ms) * stepMs) / 1000;
    const series = (load.series(ms) * stepMs) / 1000;
    total.samples += samples;
    total.series += series;
    total.log += samples * load.bytesPerSample + series * LABEL_BYTES;
    if (writing !== undefined && ms >= writing.endMs) {
      covered = writing.covered;
      const own = covered.series * IMAGE_BYTES_PER_SERIES;
      image = { bytes: own, all: own + covered.samples * CHUNK_BYTES_PER_SAMPLE, series: covered.series };
      imageBytes += own;
      outcome.images++;
      writtenMs = ms;
      writing = undefined;
    }
    const work: StartWork = {
      imageBytes: image.all,
      imageSeries: image.series,
      samples: total.samples - covered.samples,
      series: total.series - covered.series,
    };
    const seriesCount = total.series;
    outcome.startMs = Math.max(outcome.startMs, cost.estimateMs(work) / Math.max(1, seriesCount / 1e6));
    const isHeld = ms % (load.heldEveryMs ?? 1) < (load.heldMs ?? 0);
    if (ms % LOOK_MS !== 0 || writing !== undefined || isHeld) continue;
    const logBytes = total.log - covered.log;
    const state = { nowMs: ms, writtenMs, work, logBytes, imageBytes: image.bytes, writeMs, seriesCount };
    if (!rule.isDue({ ...state, lookMs: LOOK_MS })) continue;
    writeMs = ((total.series * IMAGE_BYTES_PER_SERIES) / load.written) * 1000;
    writing = { endMs: ms + writeMs, covered: { ...total } };
  }
  outcome.amplification = imageBytes / total.log;
  return outcome;
}

const ramp =
  (million: number, perSecond: number) =>
  (ms: number): number =>
    (ms / 1000) * perSecond < million * 1e6 ? perSecond : 0;

test.each([
  ['a scrape of a million series every 15 s', 67_000, ramp(1, 67_000), 7, 6],
  ['four million series', 1_500_000, ramp(4, 300_000), 7, 6],
  ['the fastest that one core takes', 1_500_000, ramp(1, 300_000), 7, 6],
  ['samples that take next to nothing in the log', 1_500_000, ramp(1, 300_000), 3, 10],
] as const)(
  'a start is short at every moment: %s',
  (_, samples, series, bytesPerSample, amplificationMax) => {
    const load = { samples: () => samples, series, bytesPerSample, written: 40 * MIB };
    const { startMs, amplification, images } = simulate(load, 1800);
    expect(images).toBeGreaterThan(2);
    expect(startMs).toBeLessThan(10_000);
    expect(amplification).toBeLessThan(amplificationMax);
  },
);

test('bursts, a slow machine, and changes that make images wait', () => {
  const samples = (ms: number): number => (Math.floor(ms / 20_000) % 3 === 0 ? 1_500_000 : 30_000);
  const usual = { samples, series: ramp(1, 200_000), bytesPerSample: 5, written: 40 * MIB };
  expect(simulate(usual, 1800).startMs).toBeLessThan(10_000);
  const slow = { ...usual, samples: (ms: number) => samples(ms) / 2, slowness: 1.7 };
  expect(simulate(slow, 1800).startMs).toBeLessThan(11_000);
  const held = { ...usual, samples: () => 200_000, heldMs: 10_000, heldEveryMs: 60_000 };
  expect(simulate(held, 1800).startMs).toBeLessThan(10_000);
});

test('looked at every 30 s, as it was, starts would have been too long', () => {
  const load = { samples: () => 1_500_000, series: ramp(1, 300_000), bytesPerSample: 7, written: 40 * MIB };
  const everySecond = simulate(load, 900).startMs;
  const everyHalfMinute = simulate({ ...load, heldMs: 29_900, heldEveryMs: 30_000 }, 900).startMs;
  expect(everySecond).toBeLessThan(10_000);
  expect(everyHalfMinute).toBeGreaterThan(10_000);
});

test('an idle ingester writes none; a little log waits for the interval', () => {
  const rule = new ImageRule(options, new StartCost());
  const work = { imageBytes: 0, imageSeries: 0, samples: 1000, series: 10 };
  const state = { nowMs: 0, writtenMs: 0, work, imageBytes: 0, writeMs: 1, lookMs: 1, seriesCount: 10 };
  expect(rule.isDue({ ...state, nowMs: 1e9, logBytes: 0 })).toBe(false);
  expect(rule.isDue({ ...state, nowMs: 1e9 + 1, logBytes: 2 * MIB })).toBe(true);
  expect(rule.isDue({ ...state, nowMs: 599_999, logBytes: 2 * MIB })).toBe(false);
  expect(rule.isDue({ ...state, nowMs: 10, logBytes: 64 * MIB })).toBe(true);
});

test('where loading alone takes too long, an image waits until it spares a quarter of that', () => {
  const rule = new ImageRule(options, new StartCost());
  const image = { imageBytes: 4000 * MIB, imageSeries: 1e6 };
  const state = { writtenMs: 0, imageBytes: 300 * MIB, writeMs: 0, lookMs: 0, seriesCount: 1e6 };
  const at = (nowMs: number, samples: number): boolean =>
    rule.isDue({ ...state, nowMs, work: { ...image, samples, series: 0 }, logBytes: samples * 4 });
  expect(at(1000, 5e6)).toBe(false);
  expect(at(1e5, 15e6)).toBe(true);
});

test('a long start teaches how fast the machine is, a short one or an absurd one does not', () => {
  const work = { imageBytes: 0, imageSeries: 0, samples: 1e7, series: 0 };
  const cost = new StartCost();
  expect(cost.estimateMs(work)).toBe(2000);
  cost.learn({ ...work, samples: 1000 }, 500);
  expect(cost.estimateMs(work)).toBe(2000);
  cost.learn(work, 3000);
  expect(cost.estimateMs(work)).toBe(3000);
  cost.learn(work, 200_000);
  expect(cost.estimateMs(work)).toBe(6000);
  cost.learn(work, 1);
  expect(cost.estimateMs(work)).toBe(1000);
});
