// The format of promtool's rule unit tests, and a runner: load the input series, evaluate the rule files step by step,
// compare alerts and expressions. `promtool test rules` says what a file means.
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { parseDuration } from '../../services/lib/model/duration.ts';
import type { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import type { Expr } from '../../services/lib/promql/ast.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import type { Engine } from '../../services/lib/promql/engine/query.ts';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { parseRuleFile, type RuleGroupSpec } from '../../services/lib/rules/rule-file.ts';
import { RuleGroup, type RuleIo, type RuleSettings } from '../../services/lib/rules/rule-group.ts';
import { type QueryVector, RuleSamples } from '../../services/lib/rules/rule-samples.ts';
import { parseHistogram, printHistogram } from './histogram-notation.ts';
import { RuleTestStorage } from './rule-test-storage.ts';
import { parseLabels, parseSequence } from './series-notation.ts';

const LOOKBACK_MS = 300_000;
const SAMPLES_MAX = 50_000_000;

type YamlScalar = string | number | boolean | null;

interface AlertTest {
  readonly eval_time?: string | number;
  readonly alertname: string;
  readonly exp_alerts?: readonly {
    readonly exp_labels?: Readonly<Record<string, YamlScalar>>;
    readonly exp_annotations?: Readonly<Record<string, YamlScalar>>;
  }[];
}

interface ExprTest {
  readonly expr: string;
  readonly eval_time?: string | number;
  readonly exp_samples?: readonly {
    readonly labels?: string;
    readonly value?: number | string;
    /** A native histogram instead of the value. */
    readonly histogram?: string;
  }[];
}

interface TestGroup {
  readonly name?: string;
  readonly interval?: string;
  readonly start_timestamp?: string | number;
  readonly input_series?: readonly { readonly series: string; readonly values?: string | number }[];
  readonly alert_rule_test?: readonly AlertTest[];
  readonly promql_expr_test?: readonly ExprTest[];
  readonly external_labels?: Readonly<Record<string, string>>;
  readonly external_url?: string;
}

interface TestFile {
  readonly rule_files?: readonly string[];
  readonly evaluation_interval?: string;
  readonly group_eval_order?: readonly string[];
  readonly fuzzy_compare?: boolean;
  readonly tests: readonly TestGroup[];
}

/** What a test file came to. */
export interface RuleTestOutcome {
  /** Assertions made. */
  readonly assertions: number;
  /** A line per assertion that failed, or per error of a rule. */
  readonly failures: readonly string[];
}

/** Runs a file. Throws what makes it no test at all: a rule file that is refused, a malformed series. */
export async function runRuleTestFile(file: string): Promise<RuleTestOutcome> {
  const test = parse(readFileSync(file, 'utf8'), { schema: 'core', merge: true }) as TestFile;
  const specs = (test.rule_files ?? []).flatMap((pattern) =>
    globSync(path.resolve(path.dirname(file), pattern))
      .sort()
      .flatMap(readRules),
  );
  const run = new Run(test, orderGroups(specs, test.group_eval_order ?? []));
  for (const group of test.tests) await run.group(group);
  return { assertions: run.assertions, failures: run.failures };
}

function readRules(file: string): readonly RuleGroupSpec[] {
  return parseRuleFile(readFileSync(file, 'utf8'), {
    file,
    features: DEFAULT_FEATURES,
    nameValidation: 'utf8',
  });
}

function orderGroups(specs: readonly RuleGroupSpec[], order: readonly string[]): RuleGroupSpec[] {
  const rank = (name: string) => (order.includes(name) ? order.indexOf(name) : -1);
  return [...specs].sort((a, b) => rank(a.name) - rank(b.name));
}

const toMs = (duration: string | number = 0) => parseDuration(String(duration));

class Run {
  assertions = 0;
  readonly failures: string[] = [];
  readonly #test: TestFile;
  readonly #specs: readonly RuleGroupSpec[];
  readonly #intervalMs: number;
  readonly #engine: Engine;
  readonly #parsed = new Map<string, Expr>();

  constructor(test: TestFile, specs: readonly RuleGroupSpec[]) {
    this.#test = test;
    this.#specs = specs;
    this.#intervalMs = toMs(test.evaluation_interval ?? '1m') || 60_000;
    this.#engine = createEngine({
      lookbackMs: LOOKBACK_MS,
      samplesMax: SAMPLES_MAX,
      features: DEFAULT_FEATURES,
      noStepSubqueryIntervalMs: this.#intervalMs,
    });
  }

  async group(test: TestGroup): Promise<void> {
    const startMs = startOf(test.start_timestamp);
    const storage = new RuleTestStorage();
    storage.append(loadInput(test, startMs, this.#intervalMs));
    const groups = this.#specs.map(
      (spec) =>
        new RuleGroup({
          spec,
          intervalMs: spec.intervalMs ?? this.#intervalMs,
          queryOffsetMs: 0,
          restored: true,
        }),
    );
    const settings: RuleSettings = {
      externalLabels: Labels.from(Object.entries(test.external_labels ?? {})),
      externalUrl: test.external_url ?? '',
      resendDelayMs: 60_000,
      outageToleranceMs: 3_600_000,
      gracePeriodMs: 600_000,
    };
    const alertTests = test.alert_rule_test ?? [];
    const exprTests = test.promql_expr_test ?? [];
    const endMs = Math.max(0, ...[...alertTests, ...exprTests].map(({ eval_time }) => toMs(eval_time)));
    const where = test.name === undefined ? '' : `${test.name}: `;
    const io = this.#io(storage, where);
    const { signal } = new AbortController();
    for (let atMs = 0; atMs <= endMs; atMs += this.#intervalMs) {
      storage.limitMs = startMs + atMs;
      for (const group of groups) await group.evaluate(startMs + atMs, settings, io, signal);
      for (const alertTest of alertTests) {
        const wantedMs = toMs(alertTest.eval_time);
        if (wantedMs >= atMs && wantedMs < atMs + this.#intervalMs)
          this.#checkAlerts(alertTest, groups, where);
      }
    }
    for (const exprTest of exprTests) {
      storage.limitMs = Number.POSITIVE_INFINITY;
      await this.#checkExpr(exprTest, storage, startMs, where);
    }
  }

  #io(storage: RuleTestStorage, where: string): RuleIo {
    return {
      query: (query, timeMs) => this.#query(storage, query, timeMs),
      write: (samples) => {
        storage.append(samples);
        return Promise.resolve();
      },
      notify: () => undefined,
      nowMs: () => 0,
      monotonicMs: () => 0,
      evaluated: (_group, rule, error) => {
        if (error !== undefined) this.failures.push(`${where}rule ${rule.spec.name}: ${error.message}`);
      },
      // An annotation that does not expand shows in the comparison.
      templateFailed: () => undefined,
      restoreFailed: () => undefined,
    };
  }

  async #query(storage: RuleTestStorage, query: string, timeMs: number): Promise<QueryVector> {
    let expr = this.#parsed.get(query);
    if (expr === undefined) this.#parsed.set(query, (expr = parseExpr(query, DEFAULT_FEATURES)));
    const result = await this.#engine.execute(
      { expr, query, startMs: timeMs, endMs: timeMs, stepMs: 0 },
      storage,
      { signal: new AbortController().signal, chargeBytes: () => undefined },
    );
    if (result.type !== 'vector' && result.type !== 'scalar') throw new Error(`query gives a ${result.type}`);
    return {
      labels: result.series.map(({ labels }) => labels),
      values: Float64Array.from(result.series, ({ values }) => values[0]!),
      histograms: result.series.map(({ histograms }) => histograms?.[0]),
    };
  }

  #compare(what: string, got: readonly string[], expected: readonly string[]): void {
    const actual = [...got].sort();
    const wanted = [...expected].sort();
    if (actual.length === wanted.length && actual.every((line, i) => line === wanted[i])) return;
    this.failures.push(
      `${what}\n  expected ${wanted.join('\n           ')}\n  got      ${actual.join('\n           ')}`,
    );
  }

  #checkAlerts(test: AlertTest, groups: readonly RuleGroup[], where: string): void {
    this.assertions++;
    const got: string[] = [];
    for (const { rules } of groups) {
      for (const rule of rules) {
        if (rule.spec.kind !== 'alerting' || rule.spec.name !== test.alertname) continue;
        for (const alert of rule.alerting.active()) {
          if (alert.state === 'firing') got.push(describeAlert(alert.labels.entries(), alert.annotations));
        }
      }
    }
    const expected = (test.exp_alerts ?? []).map(({ exp_labels, exp_annotations }) =>
      describeAlert(
        [...textEntries(exp_labels), ['alertname', test.alertname] as const],
        textEntries(exp_annotations),
      ),
    );
    this.#compare(`${where}alert ${test.alertname} at ${test.eval_time ?? 0}`, got, expected);
  }

  async #checkExpr(test: ExprTest, storage: RuleTestStorage, startMs: number, where: string): Promise<void> {
    this.assertions++;
    const what = `${where}${test.expr} at ${test.eval_time ?? 0}`;
    let found: QueryVector;
    try {
      found = await this.#query(storage, test.expr, startMs + toMs(test.eval_time));
    } catch (caught) {
      this.failures.push(`${what}: ${caught instanceof Error ? caught.message : String(caught)}`);
      return;
    }
    const print = (labels: Labels, value: number, histogram: FloatHistogram | undefined) =>
      `${labels.toString()} ${histogram === undefined ? this.#value(value) : printHistogram(histogram)}`;
    const got = found.labels.map((labels, i) => print(labels, found.values[i]!, found.histograms?.[i]));
    const expected = (test.exp_samples ?? []).map(({ labels, value, histogram }) =>
      print(
        labels === undefined || labels === '' ? Labels.empty : parseLabels(labels),
        Number(value ?? 0),
        histogram === undefined ? undefined : parseHistogram(histogram).histogram,
      ),
    );
    this.#compare(what, got, expected);
  }

  #value(value: number): string {
    return this.#test.fuzzy_compare === true ? value.toPrecision(14) : String(value);
  }
}

function startOf(timestamp: string | number | undefined): number {
  if (timestamp === undefined) return 0;
  return typeof timestamp === 'number' ? timestamp * 1000 : Date.parse(timestamp);
}

function loadInput(test: TestGroup, startMs: number, evaluationIntervalMs: number): RuleSamples {
  const intervalMs = test.interval === undefined ? evaluationIntervalMs : toMs(test.interval);
  const samples = new RuleSamples();
  for (const { series, values } of test.input_series ?? []) {
    const labels = parseLabels(series);
    parseSequence(String(values ?? '')).forEach((value, i) => {
      const timeMs = startMs + i * intervalMs;
      if (value.kind === 'float') samples.add(labels, timeMs, value.value);
      else if (value.kind === 'histogram') samples.addHistogram(labels, timeMs, value.histogram);
      else if (value.kind === 'stale') samples.addStale(labels, timeMs);
    });
  }
  return samples;
}

function textEntries(map: Readonly<Record<string, YamlScalar>> | undefined): [string, string][] {
  return Object.entries(map ?? {}).map(([name, value]) => [name, value === null ? '' : String(value)]);
}

function describeAlert(
  labels: Iterable<readonly [string, string]>,
  annotations: Iterable<readonly [string, string]>,
): string {
  return `${Labels.from(labels).toString()} ${Labels.from(annotations).toString()}`;
}
