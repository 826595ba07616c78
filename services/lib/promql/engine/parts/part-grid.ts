// The steps at which a part is evaluated: those of the query, or of the subqueries around it.
import type { Part } from '../../plan/plan.ts';
import { isStepInvariant } from '../expressions.ts';
import { firstStepOf, type Grid, makeGrid } from '../grid.ts';
import { subqueryGrid } from '../range/matrix-source.ts';
import type { QuerySession } from '../session.ts';

/** Grid of a part's root, as evaluation of the whole expression comes to it. */
export function partGrid(session: QuerySession, part: Part): Grid {
  const { startMs, endMs, stepMs } = session.request;
  let grid = makeGrid(startMs, endMs, stepMs, session.tally);
  for (const subquery of part.subqueries) {
    if (grid.steps === 0) return grid;
    // What is around a pinned subquery is evaluated at the first step.
    grid = subqueryGrid(session, subquery, subquery.at === undefined ? grid : firstStepOf(grid));
  }
  return isStepInvariant(part.root) ? firstStepOf(grid) : grid;
}
