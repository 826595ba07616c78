// The XML that AWS' APIs and S3 answer: elements and text. No attributes are kept, no entities but XML's own five and numbers, no DTD.
import { AppError } from './errors.ts';

/** An element. */
export interface XmlElement {
  readonly name: string;
  /** Of its own text, entities resolved; empty where it has children only. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

interface OpenElement {
  readonly name: string;
  text: string;
  readonly children: XmlElement[];
}

const DEPTH_MAX = 64;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

/**
 * The root element of a document.
 *
 * @throws AppError `bad_data` when it is damaged, nested too deep, or has a document type.
 */
export function parseXml(document: string): XmlElement {
  const open: OpenElement[] = [{ name: '', text: '', children: [] }];
  let at = 0;
  while (at < document.length) {
    const tag = document.indexOf('<', at);
    const current = open.at(-1)!;
    if (tag !== at) current.text += resolveEntities(document.slice(at, tag < 0 ? undefined : tag));
    if (tag < 0) break;
    at = readMarkup(document, tag, open);
  }
  const root = open[0]!.children[0];
  if (open.length !== 1 || root === undefined) throw damaged('an element is not closed');
  return root;
}

/** Takes what begins with `<` at `tag`; where it ends. */
function readMarkup(document: string, tag: number, open: OpenElement[]): number {
  if (document.startsWith('<!--', tag)) return endOf(document, tag, '-->');
  if (document.startsWith('<?', tag)) return endOf(document, tag, '?>');
  if (document.startsWith('<![CDATA[', tag)) {
    const end = endOf(document, tag, ']]>');
    open.at(-1)!.text += document.slice(tag + 9, end - 3);
    return end;
  }
  if (document.startsWith('<!', tag)) throw damaged('it has a document type');
  const end = endOf(document, tag, '>');
  const inside = document.slice(tag + 1, end - 1);
  const name = /^\/?([^\s/>]+)/.exec(inside)?.[1] ?? '';
  if (name === '') throw damaged('a tag has no name');
  if (inside.startsWith('/')) {
    close(name, open);
    return end;
  }
  if (open.length > DEPTH_MAX) throw damaged(`elements are nested deeper than ${DEPTH_MAX}`);
  open.push({ name, text: '', children: [] });
  if (inside.endsWith('/')) close(name, open);
  return end;
}

function close(name: string, open: OpenElement[]): void {
  const element = open.pop()!;
  const parent = open.at(-1);
  if (parent === undefined || element.name !== name)
    throw damaged(`</${name.slice(0, 50)}> closes <${element.name.slice(0, 50)}>`);
  parent.children.push(element.children.length > 0 ? { ...element, text: '' } : element);
}

function endOf(document: string, from: number, mark: string): number {
  const end = document.indexOf(mark, from);
  if (end < 0) throw damaged(`${mark} is missing`);
  return end + mark.length;
}

function resolveEntities(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(#x?[\da-f]+|[a-z]+);/gi, (whole, name: string) => {
    if (!name.startsWith('#')) return ENTITIES[name] ?? whole;
    const code =
      name[1] === 'x' || name[1] === 'X' ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function damaged(what: string): AppError {
  return new AppError('bad_data', `the answer is damaged XML: ${what}`);
}

/** The same; undefined for what is no such document, as error pages of whoever stands in between are. */
export function tryParseXml(document: string): XmlElement | undefined {
  try {
    return parseXml(document);
  } catch (caught) {
    if (caught instanceof AppError) return undefined;
    throw caught;
  }
}

/** Text with the five entities in the place of what XML would read. */
export function escapeXml(text: string): string {
  return text.replace(
    /[&<>"']/g,
    (char) => `&${Object.keys(ENTITIES).find((name) => ENTITIES[name] === char)};`,
  );
}

/** The first child of that name. */
export function childOf(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((child) => child.name === name);
}

/** Text at a path of names; undefined when it is not there. */
export function textAt(element: XmlElement | undefined, ...names: readonly string[]): string | undefined {
  let current = element;
  for (const name of names) current = childOf(current, name);
  return current?.text;
}

/** The `item` or `member` elements of a list. */
export function itemsOf(element: XmlElement | undefined, name: string): readonly XmlElement[] {
  return childOf(element, name)?.children ?? [];
}
