// The alert rules that Tidemark ships about itself (deploy/docker/tidemark/rules): rules for Prometheus and for Tidemark, over metrics and
// labels that the code has; and no metric that counts trouble is without one. Some are played with promtool's own unit tests.
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { parseRuleFile } from '../../services/lib/rules/rule-file.ts';
import { hasPrograms } from '../support/process.ts';
import { findProgram, repositoryRoot } from '../support/programs.ts';
import { freshFolder } from '../support/tidemark.ts';

const FILE = path.join(repositoryRoot, 'deploy/docker/tidemark/rules/tidemark-alerts.yml');
const text = readFileSync(FILE, 'utf8');
const groups = parseRuleFile(text, { file: FILE, features: DEFAULT_FEATURES, nameValidation: 'utf8' });
const expressions = [...text.matchAll(/^ +expr: (.*)$/gm)].map(([, expression]) => expression!);

/** Metric → the source text of the file that makes it. */
const metrics = new Map<string, string>();
for (const file of globSync('services/**/*.ts', { cwd: repositoryRoot })) {
  if (/\.(test|bench)\.ts$/.test(file)) continue;
  const source = readFileSync(path.join(repositoryRoot, file), 'utf8');
  for (const [, name] of source.matchAll(/'(tidemark_[a-z0-9_]+)'/g)) metrics.set(name!, source);
}

/** Names that speak of trouble. */
const TROUBLE =
  /_(failures|failed|errors|dropped|rejected|refused|corrupt|corrupt_blocks|quarantined|quarantined_blocks|missing_blocks|lacking_writes|missed|late|restarts|skipped|unknown_samples)(_total)?$/;
/** Those that are no trouble of the operator's, and why. */
const QUIET: Readonly<Record<string, string>> = {
  tidemark_querier_partitions_refused_total: 'these are read by chunks instead',
};

const baseOf = (name: string): string =>
  metrics.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');

test('there are rules, each with a severity and a summary', () => {
  const rules = groups.flatMap((group) => group.rules);
  expect(rules.length).toBeGreaterThan(40);
  expect(text.match(/^ +labels: \{ severity: (page|ticket) \}$/gm)).toHaveLength(rules.length);
  expect(text.match(/^ +summary: ".+"$/gm)).toHaveLength(rules.length);
  expect(new Set([...text.matchAll(/- alert: (\w+)/g)].map(([, name]) => name)).size).toBe(rules.length);
});

test.each(expressions)('%s: metrics and labels are those of the code', (expression) => {
  const named = [...expression.matchAll(/\btidemark_[a-z0-9_]+/g)].map(([name]) => baseOf(name));
  for (const name of named) expect([name, metrics.has(name)]).toEqual([name, true]);
  const sources = named.map((name) => metrics.get(name)!).join('\n');
  const grouped = [...expression.matchAll(/\b(?:by|on) \(([^)]*)\)/g)].flatMap(([, list]) =>
    list!.split(', '),
  );
  const matched = [...expression.matchAll(/[{,]\s*([a-z_]+)\s*(?:=|!)/g)].map(([, label]) => label!);
  for (const label of [...grouped, ...matched]) {
    if (['instance', 'job', 'le'].includes(label)) continue;
    expect([label, sources.includes(`'${label}'`)], expression).toEqual([label, true]);
  }
});

test('every metric that counts trouble has an alert', () => {
  const named = new Set([...text.matchAll(/\btidemark_[a-z0-9_]+/g)].map(([name]) => baseOf(name)));
  const troubles = [...metrics.keys()].filter(
    (name) => TROUBLE.test(name) && !name.startsWith('tidemark_test_'),
  );
  expect(troubles.length).toBeGreaterThan(20);
  expect(troubles.filter((name) => !named.has(name) && !(name in QUIET)).sort()).toEqual([]);
});

const UNIT_TESTS = `
rule_files: [${FILE}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - { series: 'tidemark_cluster_control_plane_connected{instance="a"}', values: '1x3 0x20' }
      - { series: 'tidemark_cluster_control_plane_connected{instance="b"}', values: '1x23' }
      - { series: 'tidemark_ingester_lacking_writes{instance="a"}', values: '0x2 5x20' }
      - { series: 'tidemark_ingester_lacking_writes{instance="b"}', values: '0 7 7 0 7 0x20' }
      - { series: 'tidemark_ingester_seals_total{instance="a",result="failed"}', values: '0+1x60' }
      - { series: 'tidemark_ingester_seals_total{instance="b",result="failed"}', values: '0+1x60' }
      - { series: 'tidemark_ingester_seals_total{instance="b",result="sealed"}', values: '0+1x60' }
      - { series: 'tidemark_distributor_writes_total{instance="g",outcome="ok"}', values: '0+600x30' }
      - { series: 'tidemark_distributor_writes_total{instance="g",outcome="unavailable"}', values: '0x5 0+60x30' }
    alert_rule_test:
      - { eval_time: 6m, alertname: TidemarkControlPlaneUnreachable, exp_alerts: [] }
      - eval_time: 10m
        alertname: TidemarkControlPlaneUnreachable
        exp_alerts:
          - exp_labels: { severity: page, instance: a }
            exp_annotations: { summary: "a does not reach NATS. Writes and queries go on; moves, leases and new members wait" }
      - eval_time: 20m
        alertname: TidemarkReplicaIncomplete
        exp_alerts:
          - exp_labels: { severity: page, instance: a }
            exp_annotations: { summary: "a lacks writes that its peers hold, and does not catch up" }
      - eval_time: 50m
        alertname: TidemarkSealingFails
        exp_alerts:
          - exp_labels: { severity: page, instance: a, result: failed }
            exp_annotations: { summary: "a cannot bring blocks to the stores: its log and its memory grow" }
      - { eval_time: 5m, alertname: TidemarkWritesFail, exp_alerts: [] }
      - eval_time: 15m
        alertname: TidemarkWritesFail
        exp_alerts:
          - exp_labels: { severity: page, instance: g, outcome: unavailable }
            exp_annotations: { summary: "g cannot write to a quorum (unavailable); senders keep their samples and try again" }
`;

test.skipIf(!hasPrograms('promtool'))('Prometheus takes the rules, and they fire when they should', () => {
  const tests = path.join(freshFolder(), 'tests.yml');
  writeFileSync(tests, UNIT_TESTS);
  for (const args of [
    ['check', 'rules', FILE],
    ['test', 'rules', tests],
  ]) {
    try {
      execFileSync(findProgram('promtool')!, args, { encoding: 'utf8', stdio: 'pipe' });
    } catch (caught) {
      const { stdout, stderr } = caught as { stdout: string; stderr: string };
      expect.fail(`promtool ${args.join(' ')}: ${stdout}${stderr}`);
    }
  }
});
