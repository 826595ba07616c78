// YAML as the configuration reader sees it: maps, lists, scalars and nulls with their places, aliases and merge keys
// resolved. The text of a scalar is kept as written: the reader of a key says whether it is a number, a duration or a
// string, as the Go decoder of Prometheus does. Size, depth and the growth by aliases are bounded before anything is built.
import { isUtf8 } from 'node:buffer';
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseDocument,
  type Scalar,
  visit,
} from 'yaml';
import { ConfigError, type Place } from './config-error.ts';

/** Largest file: a thousand scrape configurations are about 3 MiB. */
const CONFIG_BYTES_MAX = 16 * 1024 * 1024;
/** Most nodes once aliases are resolved: what a file of the largest size holds, so only alias bombs meet it. */
const NODES_MAX = 1_000_000;
/** Deepest nesting: Prometheus' own format needs 9. */
const DEPTH_MAX = 64;
const BINARY_TAG = 'tag:yaml.org,2002:binary';

interface NodeBase extends Place {
  /** The scalar in the document, for redaction; undefined for others. */
  readonly scalar?: Scalar | undefined;
}

export interface MapNode extends NodeBase {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, { readonly key: Place; readonly value: ConfigNode }>;
}

export interface ListNode extends NodeBase {
  readonly kind: 'list';
  readonly items: readonly ConfigNode[];
}

export interface ScalarNode extends NodeBase {
  readonly kind: 'scalar';
  readonly text: string;
  /** Without quotes: may be a number or a boolean. */
  readonly plain: boolean;
}

export interface NullNode extends NodeBase {
  readonly kind: 'null';
}

export type ConfigNode = MapNode | ListNode | ScalarNode | NullNode;

export interface ConfigDocument {
  readonly root: ConfigNode;
  readonly document: Document.Parsed;
}

/** @throws ConfigError on malformed YAML, duplicate keys, several documents, or a bound that is passed. */
export function parseConfigDocument(yamlText: string, file: string | undefined): ConfigDocument {
  const start: Place = { line: 1, column: 1 };
  if (yamlText.length > CONFIG_BYTES_MAX) {
    throw new ConfigError(
      file,
      start,
      '',
      `the file has ${yamlText.length} characters, over the limit of ${CONFIG_BYTES_MAX}; split it with scrape_config_files`,
    );
  }
  const lineCounter = new LineCounter();
  const placeOf = (offset: number): Place => {
    const { line, col } = lineCounter.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  let document: Document.Parsed;
  try {
    document = parseDocument(yamlText, {
      lineCounter,
      prettyErrors: false,
      uniqueKeys: false,
      merge: false,
      schema: 'core',
    });
  } catch (caught) {
    const reason = caught instanceof RangeError ? 'nested too deeply' : String(caught);
    throw new ConfigError(file, start, '', `not readable as YAML: ${reason}`);
  }
  const first = document.errors[0];
  if (first !== undefined) {
    const problem =
      first.code === 'MULTIPLE_DOCS'
        ? 'a second YAML document starts here; only one is read, so put everything into the first'
        : `malformed YAML: ${isStackOverflow(first.message) ? 'nested too deeply' : first.message}`;
    throw new ConfigError(file, placeOf(first.pos[0]), '', problem);
  }
  const build = new Builder(document, file, placeOf);
  return { root: build.node(document.contents, 0, start, []), document };
}

/** Whether the parser, which calls itself for each level of nesting, says that its stack was not deep enough. */
const isStackOverflow = (message: string): boolean => message.includes('call stack');

/** What each alias stands for: the last node before it with its anchor. Found in one walk, since `Alias.resolve` takes one for each. */
function aliasTargets(document: Document.Parsed): ReadonlyMap<Alias, ParsedNode> {
  const anchors = new Map<string, ParsedNode>();
  const targets = new Map<Alias, ParsedNode>();
  visit(document, {
    Node: (_, node) => {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target !== undefined) targets.set(node, target);
      } else if (node.anchor !== undefined) {
        anchors.set(node.anchor, node as ParsedNode);
      }
    },
  });
  return targets;
}

/** The document as text without comments, scalars replaced as told. The document is changed. */
export function printRedacted(document: Document.Parsed, replacements: ReadonlyMap<Scalar, string>): string {
  document.commentBefore = null;
  document.comment = null;
  visit(document, {
    Node: (_, node) => {
      if (!isAlias(node)) node.commentBefore = null;
      node.comment = null;
      if (isScalar(node)) {
        const replacement = replacements.get(node);
        if (replacement === undefined) return;
        node.value = replacement;
        delete node.source;
        delete node.type;
        delete node.tag;
        delete node.format;
      }
    },
  });
  return document.contents === null ? '' : document.toString({ lineWidth: 0 });
}

class Builder {
  readonly #targets: ReadonlyMap<Alias, ParsedNode>;
  readonly #file: string | undefined;
  readonly #placeOf: (offset: number) => Place;
  #nodes = 0;

  constructor(document: Document.Parsed, file: string | undefined, placeOf: (offset: number) => Place) {
    this.#targets = aliasTargets(document);
    this.#file = file;
    this.#placeOf = placeOf;
  }

  node(
    source: ParsedNode | null | undefined,
    depth: number,
    near: Place,
    open: readonly unknown[],
  ): ConfigNode {
    if (source === null || source === undefined) return { kind: 'null', ...near };
    const place = source.range ? this.#placeOf(source.range[0]) : near;
    if (++this.#nodes > NODES_MAX) {
      throw this.#fail(place, `more than ${NODES_MAX} values once aliases are resolved`);
    }
    if (depth > DEPTH_MAX) throw this.#fail(place, `nested more than ${DEPTH_MAX} levels deep`);
    if (isAlias(source)) return this.#alias(source, depth, place, open);
    if (isMap(source)) return this.#map(source, depth, place, [...open, source]);
    if (isSeq(source)) {
      const inside = [...open, source];
      const items = source.items.map((item) => this.node(item as ParsedNode, depth + 1, place, inside));
      return { kind: 'list', items, ...place };
    }
    return this.#scalar(source as unknown as Scalar, place);
  }

  #alias(source: Alias, depth: number, place: Place, open: readonly unknown[]): ConfigNode {
    const target = this.#targets.get(source);
    if (target === undefined) throw this.#fail(place, `alias *${source.source} has no anchor before it`);
    if (open.includes(target))
      throw this.#fail(place, `alias *${source.source} stands inside its own anchor`);
    return this.node(target, depth + 1, place, open);
  }

  #map(source: ParsedNode, depth: number, place: Place, open: readonly unknown[]): MapNode {
    const entries = new Map<string, { key: Place; value: ConfigNode }>();
    const merged: MapNode[] = [];
    if (!isMap(source)) return { kind: 'map', entries, ...place };
    for (const pair of source.items) {
      const keyNode = this.node(pair.key as ParsedNode | null, depth + 1, place, open);
      const key: Place = { line: keyNode.line, column: keyNode.column };
      const value = this.node(pair.value as ParsedNode | null, depth + 1, key, open);
      if (keyNode.kind === 'map' || keyNode.kind === 'list') throw this.#fail(key, 'a key must be a string');
      const name = keyNode.kind === 'null' ? 'null' : keyNode.text;
      if (name === '<<' && keyNode.kind === 'scalar' && keyNode.plain) {
        merged.push(...this.#mergeSources(value, key));
        continue;
      }
      if (entries.has(name)) {
        const before = entries.get(name)!.key;
        throw this.#fail(
          key,
          `key ${JSON.stringify(name)} occurs twice (first on line ${before.line}); remove one`,
        );
      }
      entries.set(name, { key, value });
    }
    for (const from of merged) {
      for (const [name, entry] of from.entries) if (!entries.has(name)) entries.set(name, entry);
    }
    return { kind: 'map', entries, ...place };
  }

  #mergeSources(value: ConfigNode, at: Place): MapNode[] {
    if (value.kind === 'map') return [value];
    if (value.kind === 'list' && value.items.every((item) => item.kind === 'map')) return [...value.items];
    throw this.#fail(at, 'the merge key << takes a map or a list of maps');
  }

  #scalar(source: Scalar, place: Place): ConfigNode {
    const text = source.source ?? '';
    if (source.tag === BINARY_TAG) {
      const bytes = Buffer.from(text, 'base64');
      if (!isUtf8(bytes))
        throw this.#fail(place, `the !!binary value ${JSON.stringify(text)} is not valid UTF-8 text`);
      return { kind: 'scalar', text: bytes.toString(), plain: false, scalar: source, ...place };
    }
    const plain = source.type === 'PLAIN' || source.type === undefined;
    if (plain && source.tag === undefined && (text === '' || text === '~' || /^null$/i.test(text))) {
      return { kind: 'null', ...place };
    }
    return { kind: 'scalar', text, plain, scalar: source, ...place };
  }

  #fail(place: Place, problem: string): ConfigError {
    return new ConfigError(this.#file, place, '', problem);
  }
}
