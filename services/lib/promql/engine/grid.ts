// The steps at which an expression is evaluated.
import { broadcastTally, type SampleTally } from './select/sample-tally.ts';

/** Times startMs + k·stepMs for k in [0, steps). */
export interface Grid {
  readonly startMs: number;
  /** 1 where there is a single step, so that it may be divided by. */
  readonly stepMs: number;
  readonly steps: number;
  /** Where the samples count that are read for these steps. Absent: nobody asks. */
  readonly tally?: SampleTally | undefined;
}

/** Steps from startMs to endMs inclusive; none when endMs is before startMs. */
export function makeGrid(startMs: number, endMs: number, stepMs: number, tally?: SampleTally): Grid {
  const step = stepMs > 0 ? stepMs : 1;
  const steps = endMs < startMs ? 0 : Math.floor((endMs - startMs) / step) + 1;
  return { startMs, stepMs: step, steps, tally };
}

/** The grid's first step alone. */
export function firstStepOf(grid: Grid): Grid {
  const { startMs, stepMs, steps, tally } = grid;
  if (steps <= 1) return grid;
  return { startMs, stepMs, steps: 1, tally: tally && broadcastTally(tally, steps) };
}

/** Time of the last step. */
export function endOf(grid: Grid): number {
  return grid.startMs + (grid.steps - 1) * grid.stepMs;
}
