// Expressions of the collected dashboards, their template variables filled in, and of the collected rules: those that Prometheus parses.
import { readdirSync, readFileSync } from 'node:fs';
import { sharedPath } from '../support/shared.ts';

type Line = Readonly<Record<string, unknown>>;

function readLines(...parts: readonly string[]): Line[] {
  return readFileSync(sharedPath('conformance', ...parts), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

/** Of all panels; repeated ones too. */
export function dashboardExpressions(): string[] {
  return readdirSync(sharedPath('conformance', 'dashboards', 'expr'))
    .flatMap((file) => readLines('dashboards', 'expr', file))
    .filter((line) => line.expr_sample !== undefined && line.parses === true)
    .map((line) => String(line.expr_sample));
}

/** Of alerts and recording rules; repeated ones too. */
export function ruleExpressions(): string[] {
  return readLines('rules', 'exprs.jsonl')
    .filter((line) => line.parses === true)
    .map((line) => String(line.expr));
}

/** Distinct ones of both. */
export function fieldExpressions(): string[] {
  return [...new Set([...dashboardExpressions(), ...ruleExpressions()])];
}
