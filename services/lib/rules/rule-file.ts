// Rule files: YAML to checked, typed groups. Everything that can be wrong is found at load, with line and column; what
// Prometheus refuses is refused, and nothing else.
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import { AppError, toAppError } from '../core/errors.ts';
import { parseDuration } from '../model/duration.ts';
import { isLegacyLabelName, METRIC_NAME } from '../model/labels.ts';
import type { Expr } from '../promql/ast.ts';
import type { PromqlFeatures } from '../promql/features.ts';
import { parseExpr } from '../promql/parse/parser.ts';
import { parseAlertTemplate, type Template } from './template/expand.ts';

/** Largest rule file, bytes. */
export const RULE_FILE_BYTES_MAX = 32 << 20;
/** Most rules of one file. */
export const RULES_PER_FILE_MAX = 100_000;
/** Most problems that one error message lists. */
const PROBLEMS_LISTED_MAX = 10;

/** A label or annotation of a rule. */
export interface TemplatedText {
  readonly name: string;
  readonly text: string;
  /** Undefined in recording rules, whose labels are taken as they are. */
  readonly template: Template | undefined;
}

interface RuleBase {
  readonly expr: Expr;
  /** The expression as written. */
  readonly query: string;
  /** The group's labels and the rule's own, which win; sorted by name. */
  readonly labels: readonly TemplatedText[];
}

export interface RecordingRuleSpec extends RuleBase {
  readonly kind: 'recording';
  /** Metric that is written. */
  readonly name: string;
}

export interface AlertingRuleSpec extends RuleBase {
  readonly kind: 'alerting';
  readonly name: string;
  readonly forMs: number;
  readonly keepFiringForMs: number;
  /** Sorted by name. */
  readonly annotations: readonly TemplatedText[];
}

export type RuleSpec = RecordingRuleSpec | AlertingRuleSpec;

export interface RuleGroupSpec {
  readonly name: string;
  readonly file: string;
  /** Undefined: the global evaluation interval. */
  readonly intervalMs: number | undefined;
  /** Undefined: the global offset. */
  readonly queryOffsetMs: number | undefined;
  /** Most series or alerts of one rule; 0 means no limit. */
  readonly limit: number;
  readonly rules: readonly RuleSpec[];
}

/** Which names are allowed: everything in UTF-8, or the classic character set. */
export type NameValidation = 'utf8' | 'legacy';

export interface RuleFileOptions {
  /** For messages, and the groups' `file`. */
  readonly file: string;
  readonly features: PromqlFeatures;
  readonly nameValidation: NameValidation;
}

/**
 * Parses and checks a rule file.
 *
 * @throws AppError `bad_data`: one line per problem, `FILE: LINE:COLUMN: group "G", rule N, "NAME": reason`.
 */
export function parseRuleFile(text: string, options: RuleFileOptions): readonly RuleGroupSpec[] {
  return new RuleFileReader(text, options).read();
}

const GROUP_KEYS = ['name', 'interval', 'query_offset', 'limit', 'labels', 'rules'];
const RULE_KEYS = ['record', 'alert', 'expr', 'for', 'keep_firing_for', 'labels', 'annotations'];

/** Where a value stands, and the value. */
type Fields = ReadonlyMap<string, { readonly key: Node; readonly value: Node | null }>;

class RuleFileReader {
  readonly #text: string;
  readonly #options: RuleFileOptions;
  readonly #lines = new LineCounter();
  readonly #problems: string[] = [];
  #resolve: (node: Node | null) => Node | null = (node) => node;
  #ruleCount = 0;

  constructor(text: string, options: RuleFileOptions) {
    this.#text = text;
    this.#options = options;
  }

  read(): readonly RuleGroupSpec[] {
    const groups = this.#groups();
    if (this.#problems.length === 0) return groups;
    const listed = this.#problems.slice(0, PROBLEMS_LISTED_MAX);
    const more = this.#problems.length - listed.length;
    if (more > 0) listed.push(`… and ${more} more`);
    throw new AppError('bad_data', listed.map((problem) => `${this.#options.file}: ${problem}`).join('\n'));
  }

  #groups(): RuleGroupSpec[] {
    if (this.#text.length > RULE_FILE_BYTES_MAX) {
      this.#problems.push(`file of ${this.#text.length} characters is larger than ${RULE_FILE_BYTES_MAX}`);
      return [];
    }
    const root = this.#document();
    if (root === null) return [];
    const fields = this.#fields(root, ['groups'], 'rule file');
    const list = this.#list(fields.get('groups')?.value ?? null, 'groups');
    const names = new Set<string>();
    return list.map((node) => this.#group(node, names)).filter((group) => group !== undefined);
  }

  /** The first document's content, as Prometheus reads it. */
  #document(): Node | null {
    const documents = parseAllDocuments(this.#text, {
      lineCounter: this.#lines,
      merge: true,
      prettyErrors: false,
      stringKeys: true,
    });
    const first = Array.isArray(documents) ? documents[0] : undefined;
    if (first === undefined) return null;
    for (const error of first.errors) this.#problem(error.pos[0], `yaml: ${error.message}`);
    if (first.errors.length > 0) return null;
    this.#resolve = (node) => (isAlias(node) ? ((node.resolve(first) as Node | undefined) ?? null) : node);
    const root = this.#resolve(first.contents as Node | null);
    return isScalar(root) && root.value === null ? null : root;
  }

  #at(node: Node | null | undefined): number {
    return node?.range?.[0] ?? 0;
  }

  #problem(offset: number, message: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.#problems.push(`${line}:${col}: ${message}`);
  }

  /** A mapping's fields; unknown keys are problems. Merge keys (`<<`) are followed. */
  #fields(node: Node | null, known: readonly string[], what: string): Fields {
    const fields = new Map<string, { key: Node; value: Node | null }>();
    const mapping = this.#resolve(node);
    if (mapping === null || (isScalar(mapping) && mapping.value === null)) return fields;
    if (!isMap(mapping)) {
      this.#problem(this.#at(mapping), `${what} must be a mapping`);
      return fields;
    }
    for (const pair of mapping.items) {
      const key = pair.key as Node;
      const name = isScalar(key) ? String(key.value) : '';
      const value = pair.value as Node | null;
      if (name === '<<') {
        for (const [merged, field] of this.#mergedFields(value, known, what)) {
          if (!fields.has(merged)) fields.set(merged, field);
        }
      } else if (known.includes(name)) {
        fields.set(name, { key, value });
      } else {
        this.#problem(this.#at(key), `field ${name} not found in ${what}; known are ${known.join(', ')}`);
      }
    }
    return fields;
  }

  #mergedFields(value: Node | null, known: readonly string[], what: string): Fields {
    const source = this.#resolve(value);
    if (!isSeq(source)) return this.#fields(source, known, what);
    const fields = new Map<string, { key: Node; value: Node | null }>();
    for (const item of source.items) {
      for (const [name, field] of this.#fields(item as Node, known, what)) {
        if (!fields.has(name)) fields.set(name, field);
      }
    }
    return fields;
  }

  #list(node: Node | null, what: string): readonly (Node | null)[] {
    const list = this.#resolve(node);
    if (list === null || (isScalar(list) && list.value === null)) return [];
    if (isSeq(list)) return list.items as (Node | null)[];
    this.#problem(this.#at(list), `${what} must be a list`);
    return [];
  }

  /** A scalar's text whatever YAML takes it for (`expr: 1`), or the empty string. */
  #string(node: Node | null | undefined, what: string): string {
    const scalar = this.#resolve(node ?? null);
    if (scalar === null) return '';
    if (!isScalar(scalar)) {
      this.#problem(this.#at(scalar), `${what} must be a string`);
      return '';
    }
    if (typeof scalar.value === 'string') return scalar.value;
    return scalar.value === null ? '' : (scalar.source ?? '');
  }

  #duration(fields: Fields, name: string): number | undefined {
    const field = fields.get(name);
    if (field === undefined) return undefined;
    const text = this.#string(field.value, name);
    if (text === '' && field.value !== null && isScalar(field.value) && field.value.value === null)
      return undefined;
    try {
      return parseDuration(text);
    } catch (caught) {
      this.#problem(this.#at(field.value ?? field.key), `${name}: ${toAppError(caught).message}`);
      return undefined;
    }
  }

  #group(node: Node | null, names: Set<string>): RuleGroupSpec | undefined {
    const fields = this.#fields(node, GROUP_KEYS, 'rule group');
    const name = this.#string(fields.get('name')?.value, 'name');
    if (name === '') this.#problem(this.#at(node), 'Groupname must not be empty');
    if (names.has(name)) this.#problem(this.#at(node), `groupname: "${name}" is repeated in the same file`);
    names.add(name);
    const intervalMs = this.#duration(fields, 'interval');
    const queryOffsetMs = this.#duration(fields, 'query_offset');
    const limit = this.#limit(fields);
    const labels = this.#texts(fields.get('labels')?.value ?? null, 'labels');
    for (const [label, { key }] of labels) this.#checkLabelName(label, key, `group ${JSON.stringify(name)}`);
    const rules: RuleSpec[] = [];
    const list = this.#list(fields.get('rules')?.value ?? null, 'rules');
    for (let i = 0; i < list.length; i++) {
      if (++this.#ruleCount > RULES_PER_FILE_MAX) {
        this.#problem(this.#at(node), `more than ${RULES_PER_FILE_MAX} rules in one file`);
        break;
      }
      const rule = this.#rule(list[i]!, name, i + 1, labels);
      if (rule !== undefined) rules.push(rule);
    }
    return {
      name,
      file: this.#options.file,
      intervalMs: intervalMs === 0 ? undefined : intervalMs,
      queryOffsetMs,
      limit,
      rules,
    };
  }

  #limit(fields: Fields): number {
    const field = fields.get('limit');
    if (field === undefined) return 0;
    const text = this.#string(field.value, 'limit');
    if (text === '') return 0;
    if (!/^[+-]?\d{1,15}$/.test(text)) {
      this.#problem(this.#at(field.value), `limit must be a whole number, not ${JSON.stringify(text)}`);
      return 0;
    }
    // A negative limit limits nothing, as in Prometheus.
    return Math.min(Math.max(Number(text), 0), 0xffffffff);
  }

  /** A mapping of names to strings. */
  #texts(node: Node | null, what: string): Map<string, { key: Node; text: string }> {
    const texts = new Map<string, { key: Node; text: string }>();
    const mapping = this.#resolve(node);
    if (mapping === null || (isScalar(mapping) && mapping.value === null)) return texts;
    if (!isMap(mapping)) {
      this.#problem(this.#at(mapping), `${what} must be a mapping of names to strings`);
      return texts;
    }
    for (const pair of mapping.items) {
      const key = pair.key as Node;
      const name = isScalar(key) ? (key.source ?? String(key.value)) : '';
      if (name === '<<') {
        for (const [merged, text] of this.#texts(pair.value as Node | null, what)) {
          if (!texts.has(merged)) texts.set(merged, text);
        }
        continue;
      }
      texts.set(name, { key, text: this.#string(pair.value as Node | null, `${what}.${name}`) });
    }
    return texts;
  }

  #checkLabelName(name: string, key: Node, where: string): void {
    if (name === METRIC_NAME || !this.#isValidLabelName(name)) {
      this.#problem(this.#at(key), `${where}: invalid label name: ${name}`);
    }
  }

  #isValidLabelName(name: string): boolean {
    if (this.#options.nameValidation === 'legacy') return isLegacyLabelName(name);
    return name !== '' && name.isWellFormed();
  }

  #rule(
    node: Node | null,
    group: string,
    position: number,
    groupLabels: ReadonlyMap<string, { key: Node; text: string }>,
  ): RuleSpec | undefined {
    const before = this.#problems.length;
    const fields = this.#fields(node, RULE_KEYS, 'rule');
    const record = this.#string(fields.get('record')?.value, 'record');
    const alert = this.#string(fields.get('alert')?.value, 'alert');
    const name = alert === '' ? record : alert;
    const where = `group ${JSON.stringify(group)}, rule ${position}, ${JSON.stringify(name)}`;
    const fail = (at: Node | null | undefined, message: string) =>
      this.#problem(this.#at(at ?? node), `${where}: ${message}`);
    const fieldOf = (key: string) => fields.get(key)?.value ?? fields.get(key)?.key;

    if (record !== '' && alert !== '')
      fail(fieldOf('record'), "only one of 'record' and 'alert' must be set");
    if (record === '' && alert === '') fail(node, "one of 'record' or 'alert' must be set");
    const query = this.#string(fields.get('expr')?.value, 'expr');
    const expr = this.#expr(query, (message) => fail(fieldOf('expr'), message));
    const forMs = this.#duration(fields, 'for') ?? 0;
    const keepFiringForMs = this.#duration(fields, 'keep_firing_for') ?? 0;
    const own = this.#texts(fields.get('labels')?.value ?? null, 'labels');
    const annotations = this.#texts(fields.get('annotations')?.value ?? null, 'annotations');
    for (const [label, { key }] of own) this.#checkLabelName(label, key, where);
    for (const [annotation, { key }] of annotations) {
      if (!this.#isValidLabelName(annotation)) fail(key, `invalid annotation name: ${annotation}`);
    }
    const labels = new Map([...groupLabels, ...own]);

    if (record !== '' && alert === '') {
      this.#checkRecording(record, { forMs, keepFiringForMs, annotations: annotations.size }, (message) =>
        fail(fieldOf('record'), message),
      );
      if (expr === undefined || this.#problems.length > before) return undefined;
      const plain = sorted(labels).map(([label, { text }]) => ({ name: label, text, template: undefined }));
      return { kind: 'recording', name: record, expr, query, labels: plain };
    }
    const templates = (texts: ReadonlyMap<string, { key: Node; text: string }>, what: string) =>
      sorted(texts).map(([label, { key, text }]): TemplatedText => {
        try {
          return { name: label, text, template: parseAlertTemplate(alert, text) };
        } catch (caught) {
          fail(key, `${what} ${JSON.stringify(label)}: ${toAppError(caught).message}`);
          return { name: label, text, template: undefined };
        }
      });
    const alertLabels = templates(labels, 'label');
    const alertAnnotations = templates(annotations, 'annotation');
    if (expr === undefined || this.#problems.length > before) return undefined;
    return {
      kind: 'alerting',
      name: alert,
      expr,
      query,
      labels: alertLabels,
      annotations: alertAnnotations,
      forMs,
      keepFiringForMs,
    };
  }

  #expr(query: string, fail: (message: string) => void): Expr | undefined {
    if (query === '') {
      fail("field 'expr' must be set in rule");
      return undefined;
    }
    try {
      return parseExpr(query, this.#options.features);
    } catch (caught) {
      fail(`could not parse expression: ${toAppError(caught).message}`);
      return undefined;
    }
  }

  #checkRecording(
    record: string,
    given: { readonly forMs: number; readonly keepFiringForMs: number; readonly annotations: number },
    fail: (message: string) => void,
  ): void {
    if (given.annotations > 0) fail("invalid field 'annotations' in recording rule");
    if (given.forMs !== 0) fail("invalid field 'for' in recording rule");
    if (given.keepFiringForMs !== 0) fail("invalid field 'keep_firing_for' in recording rule");
    const legacy = this.#options.nameValidation === 'legacy';
    const valid = legacy ? /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(record) : record.isWellFormed();
    if (!valid) fail(`invalid recording rule name: ${record}`);
    if (/[{}]/.test(record)) {
      fail(`braces present in the recording rule name; should it be in expr?: ${record}`);
    }
  }
}

function sorted<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
