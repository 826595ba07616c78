// Every rule file of the shared material loads or is refused, as Prometheus 3 would have it. What the index says of the
// expressions decides; what else makes a file one that Prometheus refuses stands here by file and reason.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { type NameValidation, parseRuleFile } from '../../services/lib/rules/rule-file.ts';
import { hasPrograms } from '../support/process.ts';
import { findProgram } from '../support/programs.ts';
import { hasShared, sharedPath } from '../support/shared.ts';

const INDEX = ['conformance', 'rules', 'exprs.jsonl'] as const;

/** Files with good expressions that are refused all the same: the end of the path → the reason given. */
const REFUSED: readonly (readonly [string, RegExp])[] = [
  // Written for vmalert, Thanos or the operator: keys that Prometheus does not know.
  ['dir/rules6-bad.rules', /field headers not found in rule group/],
  ['rules/rules-replay-good.rules', /field concurrency not found in rule group/],
  ['rules/rules2-good.rules', /field concurrency not found in rule group/],
  ['rules/rules_interval_bad.rules', /field eval_offset not found in rule group/],
  ['rules-files/invalid-unknown-field.yaml', /field partial_response_strategy not found/],
  ['rules-files/unreadable_valid.yaml', /field partial_response_strategy not found/],
  ['rules-files/valid_1.yaml', /field partial_response_strategy not found/],
  ['rules-files/valid_2.yaml', /field partial_response_strategy not found/],
  ['_gen/contrib-denominator-corrected.yaml', /field apiVersion not found in rule file/],
  ['_gen/k8s-multifile.yml', /field apiVersion not found in rule file/],
  ['testdata/rules_extrafields.yml', /7:5: field namespace not found in rule group/],
  ['fixtures/invalid_rules.yaml', /6:9: field unexpected_field not found in rule/],
  // Meant to be refused.
  ['dir/rules1-bad.rules', /groupname: "sameGroup" is repeated in the same file/],
  [
    'dir/rules2-bad.rules',
    /rule 1, "UnknownLabelFunction": label "summary": .*function "unknown" not defined/,
  ],
  ['dir/rules3-bad.rules', /rule 1, "": one of 'record' or 'alert' must be set/],
  ['rulefmt/testdata/invalid_record_name.bad.yaml', /braces present in the recording rule name/],
  ['rulefmt/testdata/no_rec_alert.bad.yaml', /one of 'record' or 'alert' must be set/],
  ['rulefmt/testdata/record_and_for.bad.yaml', /invalid field 'for' in recording rule/],
  [
    'rulefmt/testdata/record_and_keep_firing_for.bad.yaml',
    /invalid field 'keep_firing_for' in recording rule/,
  ],
  // Broken where the file was made or copied.
  ['deployment/docker/rules/alerts-vmagent.yml', /yaml: /],
];

/** Helm rendered these with its release name as every duration. */
const RENDERED = 'derived/kube-prometheus-stack/';

/** Files of several YAML documents: only the first counts, as in Prometheus. */
const FIRST_DOCUMENT_ONLY: ReadonlyMap<string, number> = new Map([
  ['rules/rules-multi-doc-duplicates-bad.rules', 1],
  ['_gen/multifile.yml', 17],
  ['_gen/openslo-kubernetes-apiserver.yml', 15],
]);

interface IndexedFile {
  readonly file: string;
  readonly good: number;
  readonly bad: number;
}

function indexedFiles(): IndexedFile[] {
  const files = new Map<string, { good: number; bad: number }>();
  for (const line of readFileSync(sharedPath(...INDEX), 'utf8').split('\n')) {
    if (line === '') continue;
    const { file, parses } = JSON.parse(line) as { readonly file: string; readonly parses: boolean };
    const counts = files.get(file) ?? { good: 0, bad: 0 };
    if (parses) counts.good++;
    else counts.bad++;
    files.set(file, counts);
  }
  return [...files]
    .map(([file, counts]) => ({ file, ...counts }))
    .filter(({ file }) => existsSync(pathOf(file)));
}

const pathOf = (file: string) => sharedPath('conformance', 'rules', file);

function load(file: string, nameValidation: NameValidation = 'utf8'): number {
  const groups = parseRuleFile(readFileSync(pathOf(file), 'utf8'), {
    file,
    features: DEFAULT_FEATURES,
    nameValidation,
  });
  return groups.reduce((count, { rules }) => count + rules.length, 0);
}

describe.skipIf(!hasShared(...INDEX))('rule files of public projects', () => {
  const files = hasShared(...INDEX) ? indexedFiles() : [];

  test('there are files and each reason still applies to one', () => {
    expect(files.length).toBeGreaterThan(200);
    for (const [end] of REFUSED)
      expect(
        files.some(({ file }) => file.endsWith(end)),
        end,
      ).toBe(true);
  });

  test.each(files.map((each) => [each.file, each] as const))('%s', (file, { good, bad }) => {
    const refusal = REFUSED.find(([end]) => file.endsWith(end));
    if (refusal !== undefined) expect(() => load(file)).toThrow(refusal[1]);
    // The operator's resource around a rule file.
    else if (/^kind: PrometheusRule$/m.test(readFileSync(pathOf(file), 'utf8'))) {
      expect(() => load(file)).toThrow('field apiVersion not found in rule file');
    } else if (bad > 0)
      expect(() => load(file)).toThrow(/could not parse expression|must be set in rule|not found in/);
    else if (file.startsWith(RENDERED) && readFileSync(pathOf(file), 'utf8').includes('for: kps')) {
      expect(() => load(file)).toThrow(/\d+:\d+: .*for: not a valid duration string: "kps"/);
    } else {
      const [, first] = [...FIRST_DOCUMENT_ONLY].find(([end]) => file.endsWith(end)) ?? [];
      expect(load(file)).toBe(first ?? good);
    }
  });

  test('classic names only, where the configuration asks for them', () => {
    const folder = 'prometheus+prometheus/model/rulefmt/testdata';
    expect(() => load(`${folder}/legacy_validation_annotation.bad.yaml`, 'legacy')).toThrow(
      'invalid annotation name: ins-tance',
    );
    expect(load(`${folder}/utf-8_lname.good.yaml`)).toBe(1);
    expect(() => load(`${folder}/utf-8_lname.good.yaml`, 'legacy')).toThrow('invalid label name: ins-tance');
  });

  test.skipIf(!hasPrograms('promtool'))('promtool says the same of each file', { timeout: 120_000 }, () => {
    // What Prometheus 3 has and the tool of 2023 refuses: group labels, UTF-8 names, classic names on demand only.
    const newer = ['dir/rules1-good.rules', 'utf-8_lname.good.yaml', 'legacy_validation_annotation.bad.yaml'];
    const older = files.map(({ file }) => file).filter((file) => !newer.some((end) => file.endsWith(end)));
    const tool = spawnSync(
      findProgram('promtool')!,
      ['check', 'rules', '--lint=none', ...older.map((file) => pathOf(file))],
      { encoding: 'utf8', maxBuffer: 64 << 20 },
    );
    // What it says of a file follows the line that names it.
    const said = new Map(
      tool.stdout.split(/^Checking /m).map((each) => [each.split('\n', 1)[0]!, each] as const),
    );
    const differing: string[] = [];
    for (const file of older) {
      const about = said.get(pathOf(file));
      if (about === undefined) throw new Error(`promtool did not check ${file}: ${tool.stderr}`);
      const theirs = /SUCCESS: (\d+) rules/.exec(about)?.[1] ?? 'refused';
      let ours: string;
      try {
        ours = String(load(file));
      } catch {
        ours = 'refused';
      }
      if (ours !== theirs) differing.push(`${file}: ${ours}, promtool ${theirs}`);
    }
    expect(differing).toEqual([]);
  });
});
