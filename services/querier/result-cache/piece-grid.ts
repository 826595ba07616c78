// How a query's steps are cut into pieces: at multiples of so many steps since 1970, so that a query that is asked again a little later has
// the same pieces.
import type { QueryRequest } from '../../lib/wire/contracts.ts';

/**
 * Steps of a piece. A refresh evaluates the pieces that are not over, so up to so many steps and the newest minutes; and what is kept of
 * a piece beside its values is paid for each piece.
 */
export const PIECE_STEPS = 120;

/** Steps of a piece that a query has, both ends inclusive. */
export interface PieceSpan {
  /** The piece's number: pieces are counted from 1970 on. */
  readonly index: number;
  /** Unix ms of the first and the last step. */
  readonly startMs: number;
  readonly endMs: number;
}

type Steps = Pick<QueryRequest, 'startMs' | 'endMs' | 'stepMs'>;

/** What tells apart queries of the same step whose steps are at other times. */
export function phaseOf({ startMs, stepMs }: Steps): number {
  return startMs - Math.floor(startMs / stepMs) * stepMs;
}

/** The last step, which need not be the end. */
export function lastStepOf({ startMs, endMs, stepMs }: Steps): number {
  return startMs + Math.floor((endMs - startMs) / stepMs) * stepMs;
}

/**
 * The pieces of a query that are over, oldest first. The one that is not is left out; where a query ends in the middle of a piece that is
 * over, its part of it is one.
 *
 * @param settledMs  Newer steps are still being written.
 */
export function settledPieces(request: Steps, settledMs: number): PieceSpan[] {
  const { startMs, stepMs } = request;
  const lengthMs = PIECE_STEPS * stepMs;
  const phaseMs = phaseOf(request);
  const lastMs = lastStepOf(request);
  const pieces: PieceSpan[] = [];
  for (let index = Math.floor(startMs / lengthMs); ; index++) {
    const pieceStartMs = index * lengthMs + phaseMs;
    const pieceEndMs = pieceStartMs + lengthMs - stepMs;
    const from = Math.max(startMs, pieceStartMs);
    const to = Math.min(lastMs, pieceEndMs);
    if (to > settledMs || from > to) return pieces;
    pieces.push({ index, startMs: from, endMs: to });
  }
}

/** Steps in a row. */
export interface StepRun {
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * The steps of a query that are in none of some pieces.
 *
 * @param pieces   Ascending.
 * @param runsMax  With more, the first to the last of them are one run, and pieces in between are evaluated, too.
 */
export function stepsOutside(request: Steps, pieces: readonly StepRun[], runsMax: number): StepRun[] {
  const { startMs, stepMs } = request;
  const lastMs = lastStepOf(request);
  const runs: StepRun[] = [];
  let at = startMs;
  for (const piece of pieces) {
    if (piece.startMs > at) runs.push({ startMs: at, endMs: piece.startMs - stepMs });
    at = piece.endMs + stepMs;
  }
  if (at <= lastMs) runs.push({ startMs: at, endMs: lastMs });
  return runs.length <= runsMax ? runs : [{ startMs: runs[0]!.startMs, endMs: runs.at(-1)!.endMs }];
}
