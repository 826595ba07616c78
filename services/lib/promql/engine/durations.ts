// Durations and reference times of selectors and subqueries: duration arithmetic, `offset`, `@`.

import { unreachable } from '../../core/assert.ts';
import { AppError } from '../../core/errors.ts';
import type { AtModifier, DurationExpr, Expr } from '../ast.ts';
import { isDurationInRange } from '../parse/number-literal.ts';
import { visitExpr } from './expressions.ts';
import type { Grid } from './grid.ts';
import type { QueryRequest } from './query.ts';

/** What durations and `@` depend on. */
export interface DurationContext {
  readonly request: Pick<QueryRequest, 'query' | 'startMs' | 'endMs' | 'stepMs'>;
}

/** Reference times firstMs + k·stepMs; stepMs is 0 where `@` pins them all to one. */
export interface AtGrid {
  readonly firstMs: number;
  readonly stepMs: number;
}

/** Where a selector or subquery looks at each step, `@` and `offset` applied. */
export function referenceTimes(
  session: DurationContext,
  node: { readonly at: AtModifier | undefined; readonly offset: DurationExpr | undefined },
  grid: Grid,
): AtGrid {
  const offsetMs = node.offset === undefined ? 0 : evaluateDuration(session, node.offset, true);
  const pinnedMs = pinnedTime(session, node.at);
  if (pinnedMs !== undefined) return { firstMs: pinnedMs - offsetMs, stepMs: 0 };
  return { firstMs: grid.startMs - offsetMs, stepMs: grid.stepMs };
}

/** Time of an `@` modifier. */
export function pinnedTime(session: DurationContext, at: AtModifier | undefined): number | undefined {
  switch (at?.kind) {
    case undefined:
      return undefined;
    case 'time':
      return at.timeMs;
    case 'start':
      return session.request.startMs;
    case 'end':
      return session.request.endMs;
    default:
      return unreachable(at);
  }
}

/**
 * A duration in whole milliseconds.
 *
 * @param negative  Whether zero and negative durations are allowed (offsets).
 * @throws AppError `bad_data` in Prometheus' words: to it, durations are part of the query's text.
 */
export function evaluateDuration(
  session: DurationContext,
  duration: DurationExpr,
  negative: boolean,
): number {
  if (duration.kind === 'literal') return duration.durationMs;
  const seconds = durationSeconds(session, duration);
  if (!(seconds > 0) && !negative) throw badDuration(session, duration, 'duration must be greater than 0');
  if (!isDurationInRange(seconds)) throw badDuration(session, duration, 'duration is out of range');
  return Math.trunc(seconds * 1000);
}

/**
 * Such errors carry the bytes from which to which the duration stands, not line and column; for a choice, from where to where
 * its arguments do.
 */
function badDuration(session: DurationContext, duration: DurationExpr, reason: string): AppError {
  const { query = '' } = session.request;
  const isChoice =
    duration.kind === 'operation' && (duration.operator === 'min' || duration.operator === 'max');
  const from = isChoice ? duration.left?.pos.start : undefined;
  const to = isChoice ? duration.right?.pos.end : undefined;
  const start = Buffer.byteLength(query.slice(0, from ?? duration.pos.start));
  const end = Buffer.byteLength(query.slice(0, to ?? duration.pos.end));
  return new AppError('bad_data', query === '' ? reason : `${start}:${end}: ${reason}`);
}

/**
 * Evaluates all durations of a query, in Prometheus' order, before anything else is: so their faults come first.
 *
 * @throws as evaluateDuration.
 */
export function checkDurations(session: DurationContext, expr: Expr): void {
  const check = (duration: DurationExpr | undefined, negative: boolean): void => {
    if (duration !== undefined) evaluateDuration(session, duration, negative);
  };
  visitExpr(expr, (node) => {
    if (node.kind === 'vector-selector') check(node.offset, true);
    if (node.kind === 'matrix-selector') check(node.range, false);
    if (node.kind === 'subquery') {
      check(node.offset, true);
      check(node.step, false);
      check(node.range, false);
    }
    return undefined;
  });
}

function durationSeconds(session: DurationContext, duration: DurationExpr): number {
  if (duration.kind === 'literal') return duration.durationMs / 1000;
  const right = duration.right === undefined ? 0 : durationSeconds(session, duration.right);
  const left = duration.left === undefined ? undefined : durationSeconds(session, duration.left);
  switch (duration.operator) {
    case '+':
      return (left ?? 0) + right;
    case '-':
      return (left ?? 0) - right;
    case '*':
      return (left ?? 0) * right;
    case '/':
      if (right === 0) throw badDuration(session, duration, 'division by zero');
      return (left ?? 0) / right;
    case '%':
      if (right === 0) throw badDuration(session, duration, 'modulo by zero');
      return (left ?? 0) % right;
    case '^':
      return (left ?? 0) ** right;
    case 'step':
      return session.request.stepMs / 1000;
    case 'range':
      return (session.request.endMs - session.request.startMs) / 1000;
    case 'min':
      return Math.min(left ?? right, right);
    case 'max':
      return Math.max(left ?? right, right);
    default:
      return unreachable(duration.operator);
  }
}
