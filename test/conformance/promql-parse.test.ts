// Every query of Prometheus' own test scripts, of the CNCF compliance suite and of real dashboards and rules: parses
// where Prometheus parses it, and what is printed parses to the same tree.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Expr } from '../../services/lib/promql/ast.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { formatExpr, printExpr } from '../../services/lib/promql/parse/printer.ts';
import { hasShared, sharedPath } from '../support/shared.ts';

type Line = Readonly<Record<string, unknown>>;

function readLines(...parts: readonly string[]): Line[] {
  const text = readFileSync(sharedPath(...parts), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

/** What a tree means: no positions, matchers in one order, numbers with their special values. */
function meaningOf(expr: Expr): string {
  return JSON.stringify(expr, (key, value: unknown) => {
    if (key === 'pos') return undefined;
    if (key === 'matchers') return (value as unknown[]).map((matcher) => JSON.stringify(matcher)).sort();
    if (typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))) {
      return Object.is(value, -0) ? '-0' : String(value);
    }
    return value;
  });
}

/** Undefined when the query parses and survives printing; else what went wrong. */
function problemOf(query: string): string | undefined {
  let tree: Expr;
  try {
    tree = parseExpr(query, ALL_FEATURES);
  } catch (caught) {
    return `${query}: ${String(caught)}`;
  }
  for (const text of [printExpr(tree), formatExpr(tree)]) {
    let again: Expr;
    try {
      again = parseExpr(text, ALL_FEATURES);
    } catch (caught) {
      return `${query} printed as ${text}: ${String(caught)}`;
    }
    if (meaningOf(again) !== meaningOf(tree)) return `${query} printed as ${text}: another tree`;
  }
  return undefined;
}

function problemsOf(queries: readonly string[]): string[] {
  return queries.map(problemOf).filter((problem) => problem !== undefined);
}

describe.skipIf(!hasShared('conformance'))('conformance queries', () => {
  test("Prometheus' test scripts", () => {
    const queries = readLines('conformance', 'promql', 'cases.jsonl').map((line) => String(line.query));
    expect(queries.length).toBeGreaterThan(1000);
    expect(problemsOf(queries)).toEqual([]);
  });

  test('the compliance suite', () => {
    const lines = readLines('conformance', 'promql-compliance', 'promql-test-queries.expanded.jsonl');
    expect(lines.length).toBeGreaterThan(300);
    const parsed = lines
      .filter((line) => line.promtool_2_42_parses === true)
      .map((line) => String(line.query));
    expect(problemsOf(parsed)).toEqual([]);
  });

  test('dashboards', () => {
    let count = 0;
    for (const file of readdirSync(sharedPath('conformance', 'dashboards', 'expr'))) {
      const lines = readLines('conformance', 'dashboards', 'expr', file);
      const samples = lines.filter((line) => line.expr_sample !== undefined);
      count += samples.length;
      const good = samples.filter((line) => line.parses === true).map((line) => String(line.expr_sample));
      expect(problemsOf(good), file).toEqual([]);
      for (const line of samples.filter(({ parses }) => parses === false)) {
        expect(() => parseExpr(String(line.expr_sample), ALL_FEATURES), String(line.expr_sample)).toThrow();
      }
    }
    expect(count).toBeGreaterThan(1000);
  });

  test('rules', () => {
    const lines = readLines('conformance', 'rules', 'exprs.jsonl');
    expect(lines.length).toBeGreaterThan(500);
    const good = lines.filter((line) => line.parses === true).map((line) => String(line.expr));
    expect(problemsOf(good)).toEqual([]);
  });
});
