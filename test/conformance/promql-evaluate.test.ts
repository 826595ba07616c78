// Every expression of the collected dashboards and rules, their template variables filled in, parses, formats and
// evaluates without error: over nothing, and over series that are made for its selectors.
import { describe, expect, test } from 'vitest';
import { Labels } from '../../services/lib/model/labels.ts';
import { compileMatcher, type Matcher } from '../../services/lib/model/matcher.ts';
import type { QueryContext } from '../../services/lib/model/queryable.ts';
import type { Expr } from '../../services/lib/promql/ast.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { formatExpr } from '../../services/lib/promql/parse/printer.ts';
import { hasShared } from '../support/shared.ts';
import { dashboardExpressions, ruleExpressions } from './field-expressions.ts';
import { MemoryQueryable } from './memory-queryable.ts';
import { selectorsOf } from './script-batches.ts';

const END_MS = 1_700_000_000_000;
const STEP_MS = 60_000;
const SAMPLES = 40;
const FEATURES = { ...DEFAULT_FEATURES, experimentalFunctions: true };
const CONTEXT: QueryContext = { signal: new AbortController().signal, chargeBytes: () => {} };

const engine = createEngine({
  lookbackMs: 300_000,
  samplesMax: 1_000_000,
  features: FEATURES,
  noStepSubqueryIntervalMs: STEP_MS,
});

/** A value that a label's matchers accept, of a few that are likely to. */
function valueFor(matchers: readonly Matcher[]): string | undefined {
  const literals = matchers.flatMap(({ value }) => [
    value,
    ...value.split('|'),
    value.replace(/\.[*+]/g, 'x'),
  ]);
  const tests = matchers.map(compileMatcher);
  return [...literals, 'sample', 'a', '500', ''].find((value) => tests.every((accepts) => accepts(value)));
}

/** A label set that the selector finds, or undefined where none comes to mind. */
function labelsFor(matchers: readonly Matcher[]): ReadonlyMap<string, string> | undefined {
  const names = new Set(matchers.map(({ name }) => name));
  const labels = new Map([
    ['instance', 'sample'],
    ['job', 'sample'],
    ['namespace', 'sample'],
    ['pod', 'sample'],
    ['__name__', 'sample'],
  ]);
  for (const name of names) {
    const value = valueFor(matchers.filter((matcher) => matcher.name === name));
    if (value === undefined) return undefined;
    labels.set(name, value);
  }
  return labels;
}

/** Series for all selectors of an expression; classic buckets get three bounds. */
function dataFor(expr: Expr): { queryable: MemoryQueryable; series: number } {
  const queryable = new MemoryQueryable();
  const seen = new Set<string>();
  const made: ReadonlyMap<string, string>[] = [];
  // The narrowest selectors first; no second series where one is there already, or joins would find two.
  for (const matchers of selectorsOf(expr).toSorted((a, b) => b.length - a.length)) {
    const tests = matchers.map((matcher) => ({ name: matcher.name, accepts: compileMatcher(matcher) }));
    if (made.some((known) => tests.every(({ name, accepts }) => accepts(known.get(name) ?? '')))) continue;
    const labels = labelsFor(matchers);
    if (labels === undefined) continue;
    made.push(labels);
    const isBucket = labels.get('__name__')!.includes('_bucket');
    for (const [i, le] of (isBucket ? ['0.1', '1', '+Inf'] : [undefined]).entries()) {
      const pairs = [...labels].filter(([, value]) => value !== '');
      const full = Labels.from(
        le === undefined ? pairs : [...pairs.filter(([name]) => name !== 'le'), ['le', le]],
      );
      if (seen.has(full.key)) continue;
      seen.add(full.key);
      queryable.append(
        full,
        Array.from({ length: SAMPLES }, (_, at) => ({
          timeMs: END_MS - (SAMPLES - at) * STEP_MS + 7,
          value: (at % 30) * (i + 2),
          isStale: false,
        })),
      );
    }
  }
  return { queryable, series: seen.size };
}

/** Undefined when all is well, else what went wrong. */
async function problemOf(query: string): Promise<{ problem: string | undefined; found: boolean }> {
  let found = false;
  try {
    const expr = parseExpr(query, FEATURES);
    const formatted = parseExpr(formatExpr(expr), FEATURES);
    const { queryable } = dataFor(expr);
    for (const storage of [new MemoryQueryable(), queryable]) {
      const instant = { expr: formatted, query, startMs: END_MS, endMs: END_MS, stepMs: 0 };
      const result = await engine.execute(instant, storage, CONTEXT);
      found ||= storage === queryable && result.series.length > 0;
      const range = { expr, query, startMs: END_MS - 3 * STEP_MS, endMs: END_MS, stepMs: STEP_MS };
      if (result.type === 'vector' || result.type === 'scalar') await engine.execute(range, storage, CONTEXT);
    }
    return { problem: undefined, found };
  } catch (caught) {
    return { problem: `${query}: ${String(caught)}`, found };
  }
}

/** Evaluates each distinct query; problems, and how many had a result. */
async function evaluateAll(queries: readonly string[]): Promise<{ problems: string[]; found: number }> {
  const problems: string[] = [];
  let found = 0;
  for (const query of new Set(queries)) {
    const outcome = await problemOf(query);
    if (outcome.problem !== undefined) problems.push(outcome.problem);
    if (outcome.found) found++;
  }
  return { problems, found };
}

describe.skipIf(!hasShared('conformance'))('expressions of the field evaluate', () => {
  test('dashboards', { timeout: 300_000 }, async () => {
    const { problems, found } = await evaluateAll(dashboardExpressions());
    expect(problems).toEqual([]);
    expect(found, 'expressions with a result').toBeGreaterThan(2000);
  });

  test('rules', { timeout: 300_000 }, async () => {
    const { problems, found } = await evaluateAll(ruleExpressions());
    expect(problems).toEqual([]);
    expect(found, 'expressions with a result').toBeGreaterThan(500);
  });
});
