// promtool's rule unit tests of public projects, run on our engine, templates and alert states. What Prometheus 3 answers
// otherwise than the version that a file was written for stands here with its reason; the list may only shrink.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { hasShared, sharedPath } from '../support/shared.ts';
import { runRuleTestFile } from './rule-test-file.ts';

const INDEX = ['conformance', 'rules', 'unit-tests.jsonl'] as const;
/** One file evaluates 250 rules at each minute of a day and takes promtool a minute, too. */
const TIMEOUT_MS = 600_000;

/** Failures that a Prometheus 3 has as well: file → assertions that fail, and why. */
const EXPECTED_FAILURES: ReadonlyMap<string, { readonly failures: number; readonly reason: string }> =
  new Map([
    [
      'derived/openshift-cmo/bz1974830.test.yaml',
      { failures: 1, reason: 'changes(…[5m]) over samples 5 m apart: left-open windows hold one of them' },
    ],
    [
      'derived/redhat-o11y/data_plane/crashloopbackoff_test.test.yaml',
      { failures: 1, reason: 'max_over_time(…[5m]) no longer sees the sample that is exactly 5 m old' },
    ],
    [
      'derived/redhat-o11y/data_plane/kyverno_test.test.yaml',
      { failures: 1, reason: 'rate(…[1m]) over samples 1 m apart: left-open windows hold one of them' },
    ],
    [
      'derived/redhat-o11y/data_plane/node_alerts_test.test.yaml',
      { failures: 3, reason: 'a sample that is exactly 5 m old is beyond the lookback' },
    ],
    [
      'derived/redhat-o11y/recording/caching_availability_recording_rules_test.test.yaml',
      { failures: 1, reason: 'rate(…[5m]) takes five samples instead of six: the last digit differs' },
    ],
    [
      'prometheus+prometheus/cmd/promtool/testdata/bad-promql.yml',
      { failures: 1, reason: 'meant to fail: an expression with many-to-many matching' },
    ],
    [
      'prometheus+prometheus/cmd/promtool/testdata/rules_run_no_fuzzy.yml',
      { failures: 2, reason: 'meant to fail: exact comparison' },
    ],
  ]);

/** Files that are no tests for Prometheus, and why. */
const NOT_RUN: ReadonlyMap<string, string> = new Map([
  [
    'VictoriaMetrics+VictoriaMetrics/app/vmalert-tool/unittest/testdata/disable-group-label.yaml',
    'vmalert fields',
  ],
  ['VictoriaMetrics+VictoriaMetrics/app/vmalert-tool/unittest/testdata/long-period.yaml', 'vmalert fields'],
  ['VictoriaMetrics+VictoriaMetrics/app/vmalert-tool/unittest/testdata/test1.yaml', 'vmalert fields'],
]);

/** Files that must be refused before anything runs: what the refusal says. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  [
    'prometheus+prometheus/cmd/promtool/testdata/bad-rules-syntax-test.yml',
    'bad-rules-syntax.yml: 7:15: group "bad-syntax", rule 1, "x": could not parse expression: 1:7: parse error: unexpected end of input',
  ],
  [
    'prometheus+prometheus/cmd/promtool/testdata/rules_run_extrafields.yml',
    'rules_extrafields.yml: 7:5: field namespace not found in rule group',
  ],
]);

interface IndexedTest {
  readonly file: string;
  readonly alert_rule_tests: number;
  readonly promql_expr_tests: number;
}

function indexedTests(): IndexedTest[] {
  return readFileSync(sharedPath(...INDEX), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as IndexedTest)
    .filter(({ file }) => existsSync(pathOf(file)) && !NOT_RUN.has(file));
}

const pathOf = (file: string) => sharedPath('conformance', 'rules', file);

describe.skipIf(!hasShared(...INDEX))('rule unit tests of public projects', () => {
  const tests = hasShared(...INDEX) ? indexedTests() : [];

  test('the index names files', () => {
    expect(tests.length).toBeGreaterThan(50);
  });

  test.each(tests.filter(({ file }) => !REFUSED.has(file)).map((each) => [each.file, each] as const))(
    '%s',
    { timeout: TIMEOUT_MS },
    async (file, { alert_rule_tests, promql_expr_tests }) => {
      const known = EXPECTED_FAILURES.get(file);
      const outcome = await runRuleTestFile(pathOf(file));
      if (known === undefined) expect(outcome.failures).toEqual([]);
      else expect(outcome.failures, known.reason).toHaveLength(known.failures);
      expect(outcome.assertions).toBe(alert_rule_tests + promql_expr_tests);
    },
  );

  test.each([...REFUSED].filter(([file]) => tests.some((test) => test.file === file)))(
    '%s is refused',
    async (file, message) => {
      await expect(runRuleTestFile(pathOf(file))).rejects.toThrow(message);
    },
  );
});
