import { describe, expect, test } from 'vitest';
import { DEFAULT_FEATURES } from '../promql/features.ts';
import { type NameValidation, parseRuleFile } from './rule-file.ts';

const load = (text: string, nameValidation: NameValidation = 'utf8') =>
  parseRuleFile(text, { file: 'r.yml', features: DEFAULT_FEATURES, nameValidation });

/** A file with one group of one rule. */
const rule = (...lines: readonly string[]) =>
  [
    'groups:',
    '  - name: g',
    '    rules:',
    ...lines.map((line, i) => `      ${i === 0 ? '- ' : '  '}${line}`),
  ].join('\n');

describe('what a file says', () => {
  test('every field', () => {
    const [group] = load(`groups:
  - name: "g 1"
    interval: 30s
    query_offset: 1m
    limit: 10
    labels: { team: storage, severity: low }
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: { tier: "1" }
      - alert: Down
        expr: |
          up == 0
        for: 5m
        keep_firing_for: 1h30m
        labels: { severity: page }
        annotations: { summary: "{{ $labels.job }} is down", runbook: "none" }
`);
    expect(group).toMatchObject({
      name: 'g 1',
      file: 'r.yml',
      intervalMs: 30_000,
      queryOffsetMs: 60_000,
      limit: 10,
    });
    const texts = (list: readonly { name: string; text: string }[]) =>
      list.map(({ name, text }) => [name, text]);
    const [record, alert] = group!.rules;
    expect(record).toMatchObject({ kind: 'recording', name: 'job:up:sum', query: 'sum by (job) (up)' });
    expect(texts(record!.labels)).toEqual([
      ['severity', 'low'],
      ['team', 'storage'],
      ['tier', '1'],
    ]);
    expect(alert).toMatchObject({
      kind: 'alerting',
      name: 'Down',
      forMs: 300_000,
      keepFiringForMs: 5_400_000,
    });
    expect(texts(alert!.labels)).toEqual([
      ['severity', 'page'],
      ['team', 'storage'],
    ]);
    if (alert!.kind !== 'alerting') throw new Error('not an alert');
    expect(texts(alert!.annotations)).toEqual([
      ['runbook', 'none'],
      ['summary', '{{ $labels.job }} is down'],
    ]);
  });

  test.each(['', '# nothing\n', 'groups:\n', 'groups: []\n', '{}'])('%j has no groups', (text) => {
    expect(load(text)).toEqual([]);
  });

  test('scalars are text whatever YAML takes them for', () => {
    const [group] = load(rule('alert: 5', 'expr: 1', 'labels: { a: true, b: 0x10, c: 1.50, d: null }'));
    expect(group!.rules[0]).toMatchObject({ name: '5', query: '1' });
    expect(group!.rules[0]!.labels.map(({ text }) => text)).toEqual(['true', '0x10', '1.50', '']);
  });

  test('anchors and merge keys', () => {
    const [group] = load(`groups:
  - name: g
    rules:
      - alert: A
        expr: up
        labels: &common { team: x, severity: low }
      - alert: B
        expr: up
        labels: { <<: *common, severity: page }
`);
    expect(group!.rules[1]!.labels.map(({ text }) => text)).toEqual(['page', 'x']);
  });

  test('labels of a recording rule are no templates', () => {
    expect(load(rule('record: r', 'expr: up', "labels: { a: '{{ nonsense' }"))[0]!.rules).toHaveLength(1);
  });
});

describe('what is refused, with line and column', () => {
  test.each([
    ['unknown key of the file', 'group: []', '1:1: field group not found in rule file; known are groups'],
    [
      'unknown key of a group',
      'groups:\n  - name: g\n    nmae: x',
      '3:5: field nmae not found in rule group',
    ],
    ['unknown key of a rule', rule('record: r', 'expr: up', 'fro: 5m'), '6:9: field fro not found in rule'],
    ['not a mapping', '- a', '1:1: rule file must be a mapping'],
    ['groups not a list', 'groups: { a: 1 }', '1:9: groups must be a list'],
    ['no group name', 'groups:\n  - rules: []', '2:5: Groupname must not be empty'],
    [
      'a group name twice',
      'groups:\n  - name: g\n  - name: g',
      '3:5: groupname: "g" is repeated in the same file',
    ],
    [
      'a bad interval',
      'groups:\n  - name: g\n    interval: 5 m',
      '3:15: interval: unknown unit " m" in duration "5 m"',
    ],
    [
      'a bad limit',
      'groups:\n  - name: g\n    limit: many',
      '3:12: limit must be a whole number, not "many"',
    ],
    [
      'neither record nor alert',
      rule('expr: up'),
      `4:9: group "g", rule 1, "": one of 'record' or 'alert' must be set`,
    ],
    [
      'both record and alert',
      rule('record: r', 'alert: a', 'expr: up'),
      `4:17: group "g", rule 1, "a": only one of 'record' and 'alert' must be set`,
    ],
    ['no expression', rule('record: r'), `4:9: group "g", rule 1, "r": field 'expr' must be set in rule`],
    [
      'a bad expression',
      rule('record: r', 'expr: up +'),
      '5:15: group "g", rule 1, "r": could not parse expression: 1:5: parse error: unexpected end of input',
    ],
    ['a bad metric name', rule('record: a{b="c"}', 'expr: up'), 'braces present in the recording rule name'],
    [
      'for in a recording rule',
      rule('record: r', 'expr: up', 'for: 1m'),
      "invalid field 'for' in recording rule",
    ],
    [
      'annotations in a recording rule',
      rule('record: r', 'expr: up', 'annotations: { a: b }'),
      "invalid field 'annotations' in recording rule",
    ],
    [
      'the metric name as a label',
      rule('alert: a', 'expr: up', 'labels: { __name__: x }'),
      '6:19: group "g", rule 1, "a": invalid label name: __name__',
    ],
    [
      'a bad template',
      rule('alert: a', 'expr: up', "annotations: { s: '{{ $label }}' }"),
      '6:24: group "g", rule 1, "a": annotation "s": template: __alert_a:1: undefined variable "$label"',
    ],
    ['bad YAML', 'groups:\n  - name: "g', '2:13: yaml: Missing closing "quote'],
    ['a key twice', 'groups: []\ngroups: []', '2:1: yaml: Map keys must be unique'],
    ['a list for a string', rule('record: [r]', 'expr: up'), '4:17: record must be a string'],
  ])('%s', (_name, text, message) => {
    expect(() => load(text)).toThrow(message);
  });

  test('classic names, where asked for', () => {
    const text = rule('record: "é"', 'expr: up', 'labels: { a-b: c }');
    expect(load(text)).toHaveLength(1);
    expect(() => load(text, 'legacy')).toThrow('invalid label name: a-b');
    expect(() => load(text, 'legacy')).toThrow('invalid recording rule name: é');
  });

  test('all problems at once, but not endlessly many', () => {
    const many = `groups:\n  - name: g\n    rules:\n${'      - expr: up\n'.repeat(30)}`;
    expect(() => load(many)).toThrow(/(r\.yml: \d+:9: .*\n){10}r\.yml: … and 20 more/);
  });

  test('aliases that refer to themselves end', () => {
    expect(() => load('groups: &a\n  - name: g\n    rules: *a')).toThrow(/r\.yml: /);
  });
});
