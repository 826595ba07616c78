// The steps at which an expression is evaluated.

/** Times startMs + k·stepMs for k in [0, steps). */
export interface Grid {
  readonly startMs: number;
  /** 1 where there is a single step, so that it may be divided by. */
  readonly stepMs: number;
  readonly steps: number;
}

/** Steps from startMs to endMs inclusive; none when endMs is before startMs. */
export function makeGrid(startMs: number, endMs: number, stepMs: number): Grid {
  const step = stepMs > 0 ? stepMs : 1;
  const steps = endMs < startMs ? 0 : Math.floor((endMs - startMs) / step) + 1;
  return { startMs, stepMs: step, steps };
}

/** The grid's first step alone. */
export function firstStepOf(grid: Grid): Grid {
  return grid.steps <= 1 ? grid : { startMs: grid.startMs, stepMs: grid.stepMs, steps: 1 };
}

/** Time of the last step. */
export function endOf(grid: Grid): number {
  return grid.startMs + (grid.steps - 1) * grid.stepMs;
}
