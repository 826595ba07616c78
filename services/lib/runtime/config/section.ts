// Reads one map of the configuration, key by key. Every key that is asked for counts as known; `finish` refuses the rest,
// so the code that reads a section is its schema. All refusals are ConfigErrors with the place and the key path.
import path from 'node:path';
import type { Scalar } from 'yaml';
import { AppError } from '../../core/errors.ts';
import { parseDuration } from '../../model/duration.ts';
import { isLegacyLabelName, Labels } from '../../model/labels.ts';
import { editDistance, parseBytes } from '../flags.ts';
import { ConfigError, type Place } from './config-error.ts';
import type { ConfigNode, ListNode, MapNode, ScalarNode } from './config-node.ts';
import type { NameValidation } from './prometheus-config.ts';
import { Secret } from './secret.ts';

/** What all sections of one file share. */
export interface ConfigContext {
  /** Shown in errors; undefined for the main file. */
  readonly file: string | undefined;
  /** Relative paths are resolved against it. */
  readonly baseDir: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Scalars that must not be shown, and what is shown instead. */
  readonly redactions: Map<Scalar, string>;
  readonly notices: string[];
  /** Rule for label names; `global.metric_name_validation_scheme`. */
  nameValidation: NameValidation;
}

export const REDACTED = '<secret>';

/** Words of YAML 1.1 for booleans, which Prometheus' decoder knows. */
const TRUE = /^(?:y|yes|true|on)$/i;
const FALSE = /^(?:n|no|false|off)$/i;

export class Section {
  readonly keyPath: string;
  readonly context: ConfigContext;
  readonly #node: MapNode;
  readonly #known = new Set<string>();

  constructor(node: MapNode, keyPath: string, context: ConfigContext) {
    this.#node = node;
    this.keyPath = keyPath;
    this.context = context;
  }

  /** True when the key stands in the file with a value. */
  has(key: string): boolean {
    return this.node(key) !== undefined;
  }

  /** The raw value; undefined when absent or null. Makes the key known. */
  node(key: string): ConfigNode | undefined {
    this.#known.add(key);
    const entry = this.#node.entries.get(key);
    return entry === undefined || entry.value.kind === 'null' ? undefined : entry.value;
  }

  /** An error at the key's value, or at the key, or at the section. */
  error(key: string, problem: string): ConfigError {
    const entry = this.#node.entries.get(key);
    const place = entry === undefined ? this.#node : entry.value;
    return this.errorAt(place, this.pathOf(key), problem);
  }

  errorAt(place: Place, keyPath: string, problem: string): ConfigError {
    return new ConfigError(this.context.file, place, keyPath, problem);
  }

  pathOf(key: string): string {
    return this.keyPath === '' ? key : `${this.keyPath}.${key}`;
  }

  text(key: string): string | undefined {
    const node = this.node(key);
    return node === undefined ? undefined : this.scalar(node, this.pathOf(key), 'a string').text;
  }

  /** A text that must be given and not be empty. */
  requiredText(key: string): string {
    const text = this.text(key);
    if (text === undefined || text === '') throw this.error(key, 'is required and must not be empty');
    return text;
  }

  /** One of `choices`, exactly. */
  choice<T extends string>(key: string, choices: readonly T[]): T | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const found = choices.find((choice) => choice === text);
    if (found === undefined) {
      throw this.error(
        key,
        `${JSON.stringify(text)} is not known; use one of ${choices.filter((choice) => choice !== '').join(', ')}`,
      );
    }
    return found;
  }

  secret(key: string): Secret | undefined {
    const node = this.node(key);
    return node === undefined ? undefined : this.#secretOf(node, this.pathOf(key));
  }

  #secretOf(node: ConfigNode, keyPath: string): Secret {
    const { text, scalar } = this.scalar(node, keyPath, 'a string');
    if (scalar !== undefined && text !== '') this.context.redactions.set(scalar, REDACTED);
    return new Secret(text);
  }

  secrets(key: string): readonly Secret[] {
    return this.items(key).map((item, i) => this.#secretOf(item, `${this.pathOf(key)}[${i}]`));
  }

  flag(key: string): boolean | undefined {
    const node = this.node(key);
    if (node === undefined) return undefined;
    const { text } = this.scalar(node, this.pathOf(key), 'true or false');
    if (TRUE.test(text)) return true;
    if (FALSE.test(text)) return false;
    throw this.error(key, `${JSON.stringify(text)} is not a boolean; use true or false`);
  }

  integer(key: string, minimum = 0): number | undefined {
    const value = this.number(key);
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(value)) throw this.error(key, `${value} is not an integer`);
    if (value < minimum) throw this.error(key, `${value} is too small; the least value is ${minimum}`);
    return value;
  }

  number(key: string): number | undefined {
    const node = this.node(key);
    if (node === undefined) return undefined;
    const { text } = this.scalar(node, this.pathOf(key), 'a number');
    const value =
      /^[+-]?(?:[\d_]*\.?[\d_]+|[\d_]+\.)(?:[eE][+-]?\d+)?$|^0x[\da-fA-F_]+$|^0o?[0-7_]+$|^0b[01_]+$/.test(
        text,
      )
        ? Number(text.replaceAll('_', '').replace(/^0(?=[0-7]+$)/, '0o'))
        : Number.NaN;
    if (Number.isNaN(value)) throw this.error(key, `${JSON.stringify(text)} is not a number`);
    return value;
  }

  /** Milliseconds. */
  durationMs(key: string): number | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    try {
      return parseDuration(text);
    } catch (caught) {
      const reason = caught instanceof AppError ? caught.message : String(caught);
      throw this.error(key, `${reason}; write it like 15s, 5m or 1h30m`);
    }
  }

  /** A size in bytes: `15MB`, powers of 1024. */
  bytes(key: string): number | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const bytes = parseBytes(text);
    if (bytes === undefined)
      throw this.error(key, `${JSON.stringify(text)} is not a size; write it like 512MB or 2GB`);
    return bytes;
  }

  /** A path, resolved against the folder of the file. */
  file(key: string): string | undefined {
    const text = this.text(key);
    return text === undefined || text === '' ? undefined : path.resolve(this.context.baseDir, text);
  }

  /** A URL; a password in it is redacted. `required` demands scheme and host. */
  url(key: string, required?: { readonly schemes: readonly string[] }): string | undefined {
    const node = this.node(key);
    if (node === undefined) return undefined;
    const { text, scalar } = this.scalar(node, this.pathOf(key), 'a URL');
    const match = /^([a-zA-Z][a-zA-Z0-9+.-]*):(?:\/\/(?:([^/?#@]*)@)?([^/?#]*))?/.exec(text);
    if (hasControlOrSpace(text) || text.startsWith(':')) {
      throw this.error(key, `${JSON.stringify(text)} is not a URL`);
    }
    if (required !== undefined) {
      const scheme = match?.[1]?.toLowerCase() ?? '';
      if (!required.schemes.includes(scheme)) {
        throw this.error(
          key,
          `${JSON.stringify(text)} must start with ${required.schemes.map((s) => `${s}://`).join(' or ')}`,
        );
      }
      if ((match?.[3] ?? '') === '') throw this.error(key, `${JSON.stringify(text)} has no host`);
    }
    const user = match?.[2];
    if (user?.includes(':') && scalar !== undefined) {
      const name = user.slice(0, user.indexOf(':'));
      this.context.redactions.set(scalar, text.replace(`//${user}@`, `//${name}:${REDACTED}@`));
    }
    return text;
  }

  /** The items of a list; empty when absent. */
  items(key: string): readonly ConfigNode[] {
    const node = this.node(key);
    if (node === undefined) return [];
    if (node.kind !== 'list')
      throw this.error(key, `${describe(node)} stands where a list is expected; start each item with "- "`);
    return (node satisfies ListNode).items;
  }

  /** A list of strings. */
  texts(key: string): readonly string[] {
    return this.items(key).map((item, i) => this.scalar(item, `${this.pathOf(key)}[${i}]`, 'a string').text);
  }

  /** A list of paths, resolved against the folder of the file. */
  files(key: string): readonly string[] {
    return this.texts(key).map((text) => path.resolve(this.context.baseDir, text));
  }

  /** A map of strings. */
  textMap(key: string): ReadonlyMap<string, string> {
    const texts = new Map<string, string>();
    for (const [name, value, keyPath] of this.mapEntries(key)) {
      texts.set(name, value.kind === 'null' ? '' : this.scalar(value, keyPath, 'a string').text);
    }
    return texts;
  }

  /** Key, value and key path of each entry of a map of arbitrary keys. */
  mapEntries(key: string): readonly (readonly [string, ConfigNode, string])[] {
    const node = this.node(key);
    if (node === undefined) return [];
    if (node.kind !== 'map')
      throw this.error(key, `${describe(node)} stands where a map is expected; write key: value`);
    return [...node.entries].map(
      ([name, { value }]) => [name, value, `${this.pathOf(key)}.${name}`] as const,
    );
  }

  /** A nested section; undefined when absent or null. */
  section(key: string): Section | undefined {
    const node = this.node(key);
    return node === undefined ? undefined : this.sectionOf(node, this.pathOf(key));
  }

  /** A list of sections; an empty item is refused. */
  sections(key: string): readonly Section[] {
    return this.items(key).map((item, i) => this.sectionOf(item, `${this.pathOf(key)}[${i}]`));
  }

  sectionOf(node: ConfigNode, keyPath: string): Section {
    if (node.kind === 'null') throw this.errorAt(node, keyPath, 'is empty; fill it in or remove the item');
    if (node.kind !== 'map') {
      throw this.errorAt(node, keyPath, `${describe(node)} stands where a map is expected; write key: value`);
    }
    return new Section(node, keyPath, this.context);
  }

  scalar(node: ConfigNode, keyPath: string, expected: string): ScalarNode {
    if (node.kind === 'scalar') return node;
    if (node.kind === 'null') return { ...node, kind: 'scalar', text: '', plain: false };
    throw this.errorAt(node, keyPath, `${describe(node)} stands where ${expected} is expected`);
  }

  /** A label set: names checked by the naming rule, values expanded by `expand` where given. */
  labels(key: string, expand: (value: string) => string = (value) => value): Labels {
    const pairs: [string, string][] = [];
    for (const [name, value, keyPath] of this.mapEntries(key)) {
      const text = value.kind === 'null' ? '' : this.scalar(value, keyPath, 'a string').text;
      if (!this.isLabelName(name))
        throw this.errorAt(value, keyPath, `${JSON.stringify(name)} is not a valid label name`);
      pairs.push([name, expand(text)]);
    }
    return Labels.from(pairs);
  }

  isLabelName(name: string, validation: NameValidation = this.context.nameValidation): boolean {
    return validation === 'legacy' ? isLegacyLabelName(name) : name !== '' && name.isWellFormed();
  }

  /** Says that something is accepted and not done. */
  notice(key: string, sentence: string): void {
    const file = this.context.file === undefined ? '' : `${this.context.file}: `;
    this.context.notices.push(`${file}${key === '' ? this.keyPath : this.pathOf(key)}: ${sentence}`);
  }

  /** Refuses keys that nobody asked for. */
  finish(): void {
    for (const [name, { key }] of this.#node.entries) {
      if (this.#known.has(name)) continue;
      throw this.errorAt(
        key,
        this.pathOf(name),
        `unknown key ${JSON.stringify(name)}${this.#suggestion(name)}`,
      );
    }
  }

  #suggestion(name: string): string {
    let best = '';
    let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
    if (name.length > 64) return '; remove it or see the reference of the configuration file';
    for (const known of this.#known) {
      const distance = editDistance(name, known);
      if (distance < bestDistance) {
        best = known;
        bestDistance = distance;
      }
    }
    return best === ''
      ? `; known here: ${[...this.#known].toSorted().slice(0, 12).join(', ')}, …`
      : `; did you mean ${best}?`;
  }
}

function describe(node: ConfigNode): string {
  switch (node.kind) {
    case 'map':
      return 'a map';
    case 'list':
      return 'a list';
    case 'null':
      return 'nothing';
    case 'scalar':
      return node.text.length > 40 ? `${JSON.stringify(node.text.slice(0, 40))}…` : JSON.stringify(node.text);
  }
}

function hasControlOrSpace(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code <= 0x20 || code === 0x7f) return true;
  }
  return false;
}
