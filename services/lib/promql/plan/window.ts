// Which samples a part needs for a step: whoever holds all of them may evaluate that step.
import type { AtModifier, DurationExpr, Expr } from '../ast.ts';
import { type DurationContext, evaluateDuration, pinnedTime } from '../engine/durations.ts';
import { unwrap } from '../engine/expressions.ts';
import { reachOf } from '../engine/range/matrix-source.ts';
import { typeOf } from '../parse/expression-type.ts';
import type { Part } from './plan.ts';

/** Samples that a part needs, both ends inclusive. */
export type PartWindow =
  /** For a step at t those in [t + earliestMs, t + latestMs]. Steps are the part's own: of the subquery around it, if any. */
  | { readonly kind: 'moving'; readonly earliestMs: number; readonly latestMs: number }
  /** For every step the same, because of `@`: Unix milliseconds. */
  | { readonly kind: 'fixed'; readonly earliestMs: number; readonly latestMs: number };

/** The query's times, and its lookback in milliseconds. */
export interface WindowContext extends DurationContext {
  readonly lookbackMs: number;
}

/** @throws AppError `execution` for durations that evaluation would refuse too. */
export function windowOf(part: Part, context: WindowContext): PartWindow {
  return windowOfExpr(part.root, context);
}

function windowOfExpr(expr: Expr, context: WindowContext): PartWindow {
  const node = unwrap(expr);
  switch (node.kind) {
    case 'vector-selector': {
      const { laterMs } = reachOf(node.extension, context.lookbackMs);
      return around(node, context, 1 - context.lookbackMs, laterMs);
    }
    case 'matrix-selector': {
      const { earlierMs, laterMs } = reachOf(node.vector.extension, context.lookbackMs);
      const rangeMs = evaluateDuration(context, node.range, false);
      return around(node.vector, context, 1 - rangeMs - earlierMs, laterMs);
    }
    case 'subquery': {
      const inner = windowOfExpr(node.expr, context);
      if (inner.kind === 'fixed') return inner;
      const rangeMs = evaluateDuration(context, node.range, false);
      return around(node, context, 1 - rangeMs + inner.earliestMs, inner.latestMs);
    }
    case 'aggregation':
    case 'unary':
      return windowOfExpr(node.expr, context);
    case 'binary':
      return windowOfExpr(typeOf(node.left) === 'scalar' ? node.right : node.left, context);
    case 'call': {
      const operand = node.args.find((argument) => {
        const type = typeOf(argument);
        return type === 'vector' || type === 'matrix';
      });
      return windowOfExpr(operand!, context);
    }
    default:
      throw new Error(`no part of a plan has a ${node.kind} where its selector is`);
  }
}

/** The window [earliestMs, latestMs] around where a selector or subquery looks. */
function around(
  node: { readonly at: AtModifier | undefined; readonly offset: DurationExpr | undefined },
  context: WindowContext,
  earliestMs: number,
  latestMs: number,
): PartWindow {
  const offsetMs = node.offset === undefined ? 0 : evaluateDuration(context, node.offset, true);
  const atMs = pinnedTime(context, node.at);
  const baseMs = (atMs ?? 0) - offsetMs;
  return {
    kind: atMs === undefined ? 'moving' : 'fixed',
    earliestMs: baseMs + earliestMs,
    latestMs: baseMs + latestMs,
  };
}
