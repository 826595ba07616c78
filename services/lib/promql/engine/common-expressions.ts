// Expressions that stand in a query more than once are evaluated once: the first time somebody opens one, its result is
// stored, and everybody reads it from there. Of equal ones the last is evaluated, because Prometheus' annotations name the last.
import type { Expr, VectorSelector } from '../ast.ts';
import { typeOf } from '../parse/expression-type.ts';
import { Printer } from '../parse/printer.ts';
import { visitExpr } from './expressions.ts';
import type { Grid } from './grid.ts';
import { StepColumn, type VectorOperand } from './operand.ts';
import type { SampleTally } from './select/sample-tally.ts';
import type { QuerySession } from './session.ts';
import { StoredOperand, type StoredVector, storeVector } from './step-table.ts';

/** A result, and what it took to get it. */
interface Shared {
  readonly stored: StoredVector;
  readonly samples: RecordedTally;
}

/** Values that are stored at most: larger results are computed again rather than kept. */
const VALUES_MAX = 1 << 22;

interface Repeated {
  readonly text: string;
  /** The last of the equal expressions. */
  readonly last: Expr;
}

/** By tree: rules are evaluated again and again. */
const repeatedOf = new WeakMap<Expr, ReadonlyMap<Expr, Repeated>>();

export class CommonExpressions {
  readonly #repeated: ReadonlyMap<Expr, Repeated>;
  /** By text and grid; undefined where the result is too large. */
  readonly #stored = new Map<string, Promise<Shared | undefined>>();

  /** @param counted  Selectors that are read for less than their samples, of this tree always the same. */
  constructor(expr: Expr, counted: ReadonlySet<VectorSelector>) {
    let repeated = repeatedOf.get(expr);
    if (repeated === undefined) repeatedOf.set(expr, (repeated = findRepeated(expr, counted)));
    this.#repeated = repeated;
  }

  /**
   * The operand of an expression, wherever it stands. Samples count for each place, as Prometheus counts them.
   *
   * @param open  Opens the expression it is given.
   */
  async open(
    session: QuerySession,
    expr: Expr,
    grid: Grid,
    open: (expr: Expr, grid: Grid) => Promise<VectorOperand>,
  ): Promise<VectorOperand> {
    const repeated = this.#repeated.get(expr);
    if (repeated === undefined) return open(expr, grid);
    const key = `${grid.startMs} ${grid.stepMs} ${grid.steps} ${repeated.text}`;
    const known = this.#stored.get(key);
    if (known !== undefined) {
      const shared = await known;
      if (shared === undefined) return open(expr, grid);
      if (grid.tally !== undefined) shared.samples.replay(grid.tally);
      return new StoredOperand(shared.stored);
    }
    const samples = new RecordedTally(grid);
    const opened = open(repeated.last, { ...grid, tally: samples });
    const storing = opened.then(async (operand) => {
      if (operand.series.length * grid.steps > VALUES_MAX) return undefined;
      return { stored: await storeVector(session, operand, new StepColumn(grid.steps)), samples };
    });
    this.#stored.set(key, storing);
    const shared = await storing;
    return shared === undefined ? opened : new StoredOperand(shared.stored);
  }
}

/** Passes on what is counted, and remembers it. */
class RecordedTally implements SampleTally {
  readonly isPerStep: boolean;
  readonly #outer: SampleTally | undefined;
  readonly #used: Float64Array;
  readonly #fetched: Float64Array;

  constructor({ tally, steps }: Grid) {
    this.isPerStep = tally?.isPerStep ?? false;
    this.#outer = tally;
    this.#used = new Float64Array(this.isPerStep ? steps : 1);
    this.#fetched = new Float64Array(this.#used.length);
  }

  add(step: number, used: number, fetched: number): void {
    this.#outer?.add(step, used, fetched);
    const at = this.isPerStep ? step : 0;
    this.#used[at]! += used;
    this.#fetched[at]! += fetched;
  }

  /** Counts everything once more. */
  replay(tally: SampleTally): void {
    for (let step = 0; step < this.#used.length; step++) {
      tally.add(step, this.#used[step]!, this.#fetched[step]!);
    }
  }
}

/** @param counted  What contains one of these selectors is like nothing else. */
function findRepeated(expr: Expr, counted: ReadonlySet<VectorSelector>): ReadonlyMap<Expr, Repeated> {
  const repeated = new Map<Expr, Repeated>();
  const alike = alikeIn(expr, counted);
  if (alike.size === 0) return repeated;
  const printer = new Printer();
  const byText = new Map<string, Expr[]>();
  visitExpr(expr, (node) => {
    if (!alike.has(node)) return undefined;
    const text = printer.print(node);
    const equal = byText.get(text);
    if (equal === undefined) byText.set(text, [node]);
    else equal.push(node);
    // What is only repeated within something repeated is opened once.
    return equal === undefined ? undefined : 'skip';
  });
  for (const [text, nodes] of byText) {
    if (nodes.length < 2) continue;
    for (const node of nodes) repeated.set(node, { text, last: nodes.at(-1)! });
  }
  return repeated;
}

/**
 * The expressions worth sharing that may stand in the query twice: what they do and what they read is of one name. Most queries hold none,
 * and are not put into words to find out.
 */
function alikeIn(expr: Expr, counted: ReadonlySet<VectorSelector>): ReadonlySet<Expr> {
  const byShape = new Map<string, Expr[]>();
  visitExpr(expr, (node) => {
    const shape = shapeOf(node, counted);
    if (shape === undefined) return undefined;
    const others = byShape.get(shape);
    if (others === undefined) byShape.set(shape, [node]);
    else others.push(node);
    return undefined;
  });
  const alike = new Set<Expr>();
  for (const nodes of byShape.values()) if (nodes.length > 1) for (const node of nodes) alike.add(node);
  return alike;
}

/**
 * The operation of an expression that computes anything from series, and the names of those; what is merely read is fetched once in any case.
 * Undefined for all others.
 */
function shapeOf(expr: Expr, counted: ReadonlySet<VectorSelector>): string | undefined {
  if (expr.kind !== 'call' && expr.kind !== 'aggregation' && expr.kind !== 'binary') return undefined;
  if (typeOf(expr) !== 'vector') return undefined;
  let names = '';
  let isCounted = false;
  visitExpr(expr, (node) => {
    if (node.kind !== 'vector-selector') return undefined;
    names += ` ${node.name}`;
    isCounted ||= counted.has(node);
    return undefined;
  });
  if (names === '' || isCounted) return undefined;
  return `${expr.kind} ${expr.kind === 'call' ? expr.func : expr.operator}${names}`;
}
