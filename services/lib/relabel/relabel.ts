// Relabelling: a list of steps that rewrite a label set or drop it. Semantics of Prometheus 3, action by action.
import { createHash } from 'node:crypto';
import { unreachable } from '../core/assert.ts';
import { isLegacyLabelName, Labels } from '../model/labels.ts';
import { compileRegex } from '../model/matcher.ts';
import type { NamePredicate, RelabelConfig } from './relabel-config.ts';
import { compileGroupRegex, compileTemplate, REGEX_ALL } from './relabel-regex.ts';

/** Rewrites a label set; undefined means dropped. */
export type Relabeler = (labels: Labels) => Labels | undefined;

/** Whether a name may become a label name. */
export type LabelNameRule = (name: string) => boolean;

/** Any well-formed text that is not empty: the rule since Prometheus 3. */
export const UTF8_NAMES: LabelNameRule = (name) => name !== '' && name.isWellFormed();
/** `[a-zA-Z_][a-zA-Z0-9_]*`. */
export const LEGACY_NAMES: LabelNameRule = isLegacyLabelName;

/** Changes the label set in place; false drops it. */
type Step = (labels: Map<string, string>) => boolean;

/**
 * Compiles the steps once, to be applied many times.
 *
 * @throws AppError `bad_data` when a regular expression is malformed (the configuration reader has checked them).
 */
export function compileRelabeler(
  configs: readonly RelabelConfig[],
  names: LabelNameRule = UTF8_NAMES,
): Relabeler {
  if (configs.length === 0) return (labels) => labels;
  const steps = configs.map((config) => compileStep(config, names));
  // Only labelmap goes through the labels, and only what earlier steps set is out of order.
  const isOrdered = configs.findLastIndex(({ action }) => action === 'labelmap') > 0;
  return (labels) => {
    const draft = isOrdered ? new OrderedDraft(labels) : new Map(labels.entries());
    for (const step of steps) if (!step(draft)) return undefined;
    return Labels.from(draft);
  };
}

/** Compiled steps by the list they came from: configuration lists live as long as their configuration. */
const compiled = new WeakMap<readonly RelabelConfig[], Relabeler>();

/** Applies the steps; undefined means dropped. Lists are compiled at their first use. */
export function relabel(labels: Labels, configs: readonly RelabelConfig[]): Labels | undefined {
  let relabeler = compiled.get(configs);
  if (relabeler === undefined) {
    relabeler = compileRelabeler(configs);
    compiled.set(configs, relabeler);
  }
  return relabeler(labels);
}

function compileStep(config: RelabelConfig, names: LabelNameRule): Step {
  const { action, targetLabel } = config;
  const source = sourceOf(config);
  switch (action) {
    case 'replace':
      return replaceStep(config, source, names);
    case 'keep': {
      const { matches } = compileRegex(config.regex);
      return (labels) => matches(source(labels));
    }
    case 'drop': {
      const { matches } = compileRegex(config.regex);
      return (labels) => !matches(source(labels));
    }
    case 'keepequal':
      return (labels) => (labels.get(targetLabel) ?? '') === source(labels);
    case 'dropequal':
      return (labels) => (labels.get(targetLabel) ?? '') !== source(labels);
    case 'hashmod': {
      const modulus = BigInt(config.modulus);
      return (labels) => set(labels, targetLabel, String(hashOf(source(labels)) % modulus));
    }
    case 'lowercase':
      return (labels) => set(labels, targetLabel, mapCase(source(labels), lowerOf));
    case 'uppercase':
      return (labels) => set(labels, targetLabel, mapCase(source(labels), upperOf));
    case 'labelmap':
      return labelMapStep(config);
    case 'labeldrop':
      return deleteStep(compileRegex(config.regex).matches);
    case 'labelkeep': {
      const { matches } = compileRegex(config.regex);
      return deleteStep((name) => !matches(name));
    }
    default:
      return unreachable(action);
  }
}

/** The values of the source labels, joined. */
function sourceOf(config: RelabelConfig): (labels: ReadonlyMap<string, string>) => string {
  const { sourceLabels, separator } = config;
  const only = sourceLabels[0];
  if (only === undefined) return () => '';
  if (sourceLabels.length === 1) return (labels) => labels.get(only) ?? '';
  return (labels) => sourceLabels.map((name) => labels.get(name) ?? '').join(separator);
}

function replaceStep(
  config: RelabelConfig,
  source: (labels: ReadonlyMap<string, string>) => string,
  names: LabelNameRule,
): Step {
  const target = compileTemplate(config.targetLabel);
  const replacement = compileTemplate(config.replacement);
  const regex = compileGroupRegex(config.regex);
  const matchesAll = config.regex === REGEX_ALL;
  return (labels) => {
    const value = source(labels);
    if (value === '' && matchesAll && target.isLiteral && replacement.isLiteral) {
      return set(labels, config.targetLabel, config.replacement);
    }
    const groups = regex.match(value);
    if (groups === undefined) return true;
    const name = target.expand(groups, regex);
    if (!names(name)) return true;
    return set(labels, name, replacement.expand(groups, regex));
  };
}

function labelMapStep(config: RelabelConfig): Step {
  const regex = compileGroupRegex(config.regex);
  const replacement = compileTemplate(config.replacement);
  return (labels) => {
    for (const [name, value] of [...labels]) {
      const groups = regex.match(name);
      if (groups === undefined) continue;
      const target = replacement.expand(groups, regex);
      if (target !== '') set(labels, target, value);
    }
    return true;
  };
}

function deleteStep(matches: NamePredicate): Step {
  return (labels) => {
    for (const name of [...labels.keys()]) if (matches(name)) labels.delete(name);
    return true;
  };
}

/**
 * Labels in the order in which Prometheus goes through them: those that were there at first, then those that steps have set, in the
 * order of their setting. Where labelmap gives two labels one name the last one stays.
 */
class OrderedDraft extends Map<string, string> {
  readonly #changed = new Set<string>();

  constructor(labels: Labels) {
    super();
    for (const [name, value] of labels.entries()) super.set(name, value);
  }

  override set(name: string, value: string): this {
    if (!this.#changed.has(name)) {
      super.delete(name);
      this.#changed.add(name);
    }
    return super.set(name, value);
  }

  override delete(name: string): boolean {
    this.#changed.delete(name);
    return super.delete(name);
  }
}

/** An empty value means that the label is absent. */
function set(labels: Map<string, string>, name: string, value: string): true {
  if (value === '') labels.delete(name);
  else labels.set(name, value);
  return true;
}

/** `İ` is the only one whose small letter JavaScript writes with two characters and Unicode's simple mapping with one. */
const lowerOf = (char: string): string => (char === '\u0130' ? 'i' : char.toLowerCase());

/** Greek small letters with iota below, which JavaScript writes as two capitals, have one of their own. */
const IOTA_BELOW = /^[\u1f80-\u1f87\u1f90-\u1f97\u1fa0-\u1fa7]$/;
const IOTA_BELOW_ALONE = /^[\u1fb3\u1fc3\u1ff3]$/;

function upperOf(char: string): string {
  if (IOTA_BELOW.test(char)) return String.fromCharCode(char.charCodeAt(0) + 8);
  if (IOTA_BELOW_ALONE.test(char)) return String.fromCharCode(char.charCodeAt(0) + 9);
  return char.toUpperCase();
}

/** Go's strings.ToLower and ToUpper: code point by code point, so `ß` stays and a final sigma is nothing special. */
function mapCase(text: string, map: (char: string) => string): string {
  let mapped = '';
  for (const char of text) {
    const other = map(char);
    mapped += other.length === char.length ? other : char;
  }
  return mapped;
}

/** Prometheus' hash: the last eight bytes of the MD5 sum, big-endian. Not for security. */
function hashOf(value: string): bigint {
  return createHash('md5').update(value).digest().readBigUInt64BE(8);
}
