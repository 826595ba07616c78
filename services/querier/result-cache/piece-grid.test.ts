import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lastStepOf, PIECE_STEPS, phaseOf, settledPieces, stepsOutside } from './piece-grid.ts';

const PIECE = PIECE_STEPS * 10;

test('pieces begin at multiples of their length, shifted by the phase of the steps', () => {
  const request = { startMs: PIECE + 13, endMs: 4 * PIECE + 503, stepMs: 10 };
  expect(phaseOf(request)).toBe(3);
  expect(settledPieces(request, 3 * PIECE + 2)).toEqual([
    { index: 1, startMs: PIECE + 13, endMs: 2 * PIECE - 7 },
    { index: 2, startMs: 2 * PIECE + 3, endMs: 3 * PIECE - 7 },
  ]);
  // The last one ends with the query, where that is over.
  expect(settledPieces(request, 1e9).at(-1)).toEqual({
    index: 4,
    startMs: 4 * PIECE + 3,
    endMs: 4 * PIECE + 503,
  });
  expect(settledPieces(request, 2 * PIECE - 8)).toEqual([]);
});

const query = fc
  .record({
    startMs: fc.integer({ min: -100_000, max: 100_000 }),
    stepMs: fc.integer({ min: 1, max: 50 }),
    steps: fc.integer({ min: 0, max: 900 }),
    rest: fc.integer({ min: 0, max: 49 }),
    settledMs: fc.integer({ min: -100_000, max: 150_000 }),
  })
  .map(({ startMs, stepMs, steps, rest, settledMs }) => ({
    request: { startMs, stepMs, endMs: startMs + steps * stepMs + (rest % stepMs) },
    settledMs,
  }));

test('pieces and what is outside of some of them are all steps, each once; a query that moves by a step has the same pieces', () => {
  fc.assert(
    fc.property(query, fc.infiniteStream(fc.boolean()), ({ request, settledMs }, coins) => {
      const { startMs, endMs, stepMs } = request;
      const all = settledPieces(request, settledMs);
      const kept = all.filter(() => coins.next().value);
      const runs = stepsOutside(request, kept, Number.POSITIVE_INFINITY);
      const covered: number[] = [];
      for (const part of [...kept, ...runs].sort((a, b) => a.startMs - b.startMs)) {
        expect(part.endMs).toBeGreaterThanOrEqual(part.startMs);
        for (let timeMs = part.startMs; timeMs <= part.endMs; timeMs += stepMs) covered.push(timeMs);
      }
      const steps: number[] = [];
      for (let timeMs = startMs; timeMs <= endMs; timeMs += stepMs) steps.push(timeMs);
      expect(covered).toEqual(steps);
      expect(steps.at(-1)).toBe(lastStepOf(request));
      for (const piece of all) expect(piece.endMs).toBeLessThanOrEqual(settledMs);
      const moved = settledPieces({ stepMs, startMs: startMs + stepMs, endMs: endMs + stepMs }, settledMs);
      for (const piece of moved) {
        const same = all.find(({ index }) => index === piece.index);
        if (same === undefined) continue;
        expect(piece.startMs).toBe(Math.max(same.startMs, startMs + stepMs));
        expect(piece.endMs).toBeGreaterThanOrEqual(same.endMs);
      }
    }),
  );
});

test('too many holes are one', () => {
  const request = { startMs: 0, endMs: 6 * PIECE - 10, stepMs: 10 };
  const [, second, , fourth] = settledPieces(request, 1e9);
  const kept = [second!, fourth!];
  expect(stepsOutside(request, kept, 3)).toHaveLength(3);
  expect(stepsOutside(request, kept, 2)).toEqual([{ startMs: 0, endMs: 6 * PIECE - 10 }]);
});
