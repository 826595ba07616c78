// Parses templates: the grammar of Go's text/template with its messages, so that a rule file that Prometheus refuses is
// refused here for the same reason.
import { AppError } from '../../core/errors.ts';
import type { Branch, Command, Node, NumberNode, Operand, Pipeline, TemplateTree } from './ast.ts';
import { printNode } from './ast.ts';
import { quoteGo, unquoteGo } from './quote.ts';
import { type Token, type TokenKind, tokenize } from './tokens.ts';

/** Deepest nesting of blocks and parentheses. */
const NESTING_MAX = 100;

/**
 * Parses a template.
 *
 * @param name       For messages: `__alert_HighLoad`.
 * @param functions  Names that may be called.
 * @throws AppError `bad_data`: `template: NAME:LINE: reason`, in Go's words.
 */
export function parseTemplate(name: string, source: string, functions: ReadonlySet<string>): TemplateTree {
  return new Parser(name, source, functions).parse();
}

type Ending = { readonly kind: 'end' | 'else' | 'eof'; readonly start: number };

class Parser {
  readonly #name: string;
  readonly #source: string;
  readonly #functions: ReadonlySet<string>;
  readonly #tokens: readonly Token[];
  readonly #definitions = new Map<string, readonly Node[]>();
  #at = 0;
  #variables: string[] = ['$'];
  #rangeDepth = 0;
  #depth = 0;

  constructor(name: string, source: string, functions: ReadonlySet<string>) {
    this.#name = name;
    this.#source = source;
    this.#functions = functions;
    this.#tokens = tokenize(source);
  }

  parse(): TemplateTree {
    const { nodes, ending } = this.#list();
    if (ending.kind !== 'eof') this.#fail(`unexpected {{${ending.kind}}}`);
    return { name: this.#name, source: this.#source, root: nodes, definitions: this.#definitions };
  }

  #fail(message: string): never {
    const { start } = this.#tokens[Math.min(Math.max(this.#at - 1, 0), this.#tokens.length - 1)]!;
    let line = 1;
    for (let i = 0; i < start; i++) if (this.#source.charCodeAt(i) === 10) line++;
    throw new AppError('bad_data', `template: ${this.#name}:${line}: ${message}`);
  }

  #unexpected(token: Token, context: string): never {
    if (token.kind === 'error') this.#fail(token.text);
    this.#fail(`unexpected ${printToken(token)} in ${context}`);
  }

  #peek(): Token {
    return this.#tokens[Math.min(this.#at, this.#tokens.length - 1)]!;
  }

  #next(): Token {
    const token = this.#peek();
    this.#at++;
    return token;
  }

  #skipSpace(): void {
    if (this.#peek().kind === 'space') this.#at++;
  }

  #peekNonSpace(): Token {
    this.#skipSpace();
    return this.#peek();
  }

  #nextNonSpace(): Token {
    this.#skipSpace();
    return this.#next();
  }

  #expect(kind: TokenKind, context: string): Token {
    const token = this.#nextNonSpace();
    if (token.kind !== kind) this.#unexpected(token, context);
    return token;
  }

  #enter(): void {
    if (++this.#depth > NESTING_MAX) this.#fail(`nested more than ${NESTING_MAX} deep`);
  }

  /** Nodes up to `{{end}}`, `{{else}}` or the end of the text. */
  #list(): { nodes: Node[]; ending: Ending } {
    this.#enter();
    const nodes: Node[] = [];
    for (;;) {
      const token = this.#nextNonSpace();
      if (token.kind === 'eof') {
        this.#depth--;
        return { nodes, ending: { kind: 'eof', start: token.start } };
      }
      if (token.kind === 'text') {
        nodes.push({ kind: 'text', start: token.start, text: token.text });
        continue;
      }
      if (token.kind !== 'left-delim') this.#unexpected(token, 'input');
      const node = this.#action();
      if (node === undefined) continue;
      if (node.kind === 'end' || node.kind === 'else') {
        this.#depth--;
        return { nodes, ending: node };
      }
      nodes.push(node as Node);
    }
  }

  /** What stands between `{{` and `}}`, with its block; undefined for a definition. */
  #action(): Node | Ending | undefined {
    const token = this.#nextNonSpace();
    if (token.kind === 'keyword') {
      switch (token.text) {
        case 'if':
        case 'with':
        case 'range':
          return this.#control(token.text, token.start);
        case 'else':
          return this.#else(token.start);
        case 'end':
          this.#expect('right-delim', 'end');
          return { kind: 'end', start: token.start };
        case 'template':
          return this.#template();
        case 'block':
          return this.#block();
        case 'define':
          this.#define();
          return undefined;
        case 'break':
        case 'continue':
          return this.#jump(token.text, token.start);
      }
    }
    this.#at--;
    const pipeline = this.#pipeline('command', 'right-delim');
    return { kind: 'action', start: pipeline.start, pipeline };
  }

  #else(start: number): Ending {
    const after = this.#peekNonSpace();
    // `{{else if}}` is `{{else}}{{if}}`: the keyword stays for #control.
    if (after.kind !== 'keyword' || (after.text !== 'if' && after.text !== 'with')) {
      this.#expect('right-delim', 'else');
    }
    return { kind: 'else', start };
  }

  #jump(keyword: 'break' | 'continue', start: number): Node {
    const token = this.#nextNonSpace();
    if (token.kind !== 'right-delim') this.#unexpected(token, `{{${keyword}}}`);
    if (this.#rangeDepth === 0) this.#fail(`{{${keyword}}} outside {{range}}`);
    return { kind: keyword, start };
  }

  #control(kind: Branch['kind'], start: number): Branch {
    const mark = this.#variables.length;
    const pipeline = this.#pipeline(kind, 'right-delim');
    if (kind === 'range') this.#rangeDepth++;
    const { nodes: body, ending } = this.#list();
    if (kind === 'range') this.#rangeDepth--;
    if (ending.kind === 'eof') this.#fail('unexpected EOF');
    let otherwise: readonly Node[] | undefined;
    if (ending.kind === 'else') otherwise = this.#otherwise(kind);
    this.#variables.length = mark;
    return { kind, start, pipeline, body, otherwise };
  }

  #otherwise(kind: Branch['kind']): readonly Node[] {
    const token = this.#peek();
    if (token.kind === 'keyword' && token.text === kind && kind !== 'range') {
      this.#next();
      this.#enter();
      const nested = this.#control(kind, token.start);
      this.#depth--;
      return [nested];
    }
    if (token.kind === 'keyword' && (token.text === 'if' || token.text === 'with')) {
      this.#at++;
      this.#unexpected(token, 'else');
    }
    const { nodes, ending } = this.#list();
    if (ending.kind === 'eof') this.#fail('unexpected EOF');
    if (ending.kind !== 'end') this.#fail('expected end; found {{else}}');
    return nodes;
  }

  #template(): Node {
    const { start } = this.#peekNonSpace();
    const name = this.#templateName('template clause');
    if (this.#nextNonSpace().kind === 'right-delim') {
      return { kind: 'template', start, name, pipeline: undefined };
    }
    this.#at--;
    return { kind: 'template', start, name, pipeline: this.#pipeline('template clause', 'right-delim') };
  }

  #templateName(context: string): string {
    const token = this.#nextNonSpace();
    if (token.kind !== 'string' && token.kind !== 'raw-string') this.#unexpected(token, context);
    return this.#unquote(token);
  }

  #define(): void {
    const name = this.#templateName('define clause');
    this.#expect('right-delim', 'define clause');
    this.#definitions.set(name, this.#definitionBody('define clause'));
  }

  #block(): Node {
    const { start } = this.#peekNonSpace();
    const name = this.#templateName('block clause');
    const pipeline = this.#pipeline('block clause', 'right-delim');
    const body = this.#definitionBody('block clause');
    if (!this.#definitions.has(name)) this.#definitions.set(name, body);
    return { kind: 'template', start, name, pipeline };
  }

  /** A definition sees no variable but `$`. */
  #definitionBody(context: string): readonly Node[] {
    const variables = this.#variables;
    const rangeDepth = this.#rangeDepth;
    this.#variables = ['$'];
    this.#rangeDepth = 0;
    const { nodes, ending } = this.#list();
    if (ending.kind === 'eof') this.#fail('unexpected EOF');
    if (ending.kind !== 'end') this.#fail(`unexpected {{${ending.kind}}} in ${context}`);
    this.#variables = variables;
    this.#rangeDepth = rangeDepth;
    return nodes;
  }

  #pipeline(context: string, closing: TokenKind): Pipeline {
    this.#enter();
    const { start } = this.#peekNonSpace();
    const { declared, assigns } = this.#declarations(context);
    const commands: Command[] = [];
    for (;;) {
      const token = this.#nextNonSpace();
      if (token.kind === closing) break;
      if (!startsOperand(token)) this.#unexpected(token, context);
      this.#at--;
      commands.push(this.#command());
    }
    this.#checkPipeline(commands, context);
    this.#depth--;
    return { kind: 'pipeline', start, declared, assigns, commands };
  }

  #declarations(context: string): { declared: string[]; assigns: boolean } {
    const declared: string[] = [];
    for (;;) {
      const variable = this.#peekNonSpace();
      if (variable.kind !== 'variable') return { declared, assigns: false };
      const before = this.#at;
      this.#next();
      const after = this.#nextNonSpace();
      if (after.kind === 'assign' || after.kind === 'declare') {
        declared.push(variable.text);
        this.#variables.push(variable.text);
        return { declared, assigns: after.kind === 'assign' };
      }
      if (after.kind !== 'char' || after.text !== ',') {
        this.#at = before;
        return { declared, assigns: false };
      }
      declared.push(variable.text);
      this.#variables.push(variable.text);
      if (context !== 'range' || declared.length > 1) this.#fail(`too many declarations in ${context}`);
      const second = this.#peekNonSpace().kind;
      if (second !== 'variable' && second !== 'right-delim' && second !== 'right-paren') {
        this.#fail('range can only initialize variables');
      }
    }
  }

  #checkPipeline(commands: readonly Command[], context: string): void {
    if (commands.length === 0) this.#fail(`missing value for ${context}`);
    for (let i = 1; i < commands.length; i++) {
      const { kind } = commands[i]!.args[0]!;
      if (kind === 'bool' || kind === 'dot' || kind === 'nil' || kind === 'number' || kind === 'string') {
        this.#fail(`non executable command in pipeline stage ${i + 1}`);
      }
    }
  }

  #command(): Command {
    const { start } = this.#peekNonSpace();
    const args: Operand[] = [];
    for (;;) {
      this.#skipSpace();
      const operand = this.#operand();
      if (operand !== undefined) args.push(operand);
      const token = this.#next();
      if (token.kind === 'space') continue;
      if (token.kind === 'right-delim' || token.kind === 'right-paren') this.#at--;
      else if (token.kind !== 'pipe') this.#unexpected(token, 'operand');
      break;
    }
    if (args.length === 0) this.#fail('empty command');
    return { kind: 'command', start, args };
  }

  #operand(): Operand | undefined {
    const term = this.#term();
    if (term === undefined || this.#peek().kind !== 'field') return term;
    const path: string[] = [];
    // Go's position of a chain is that of its first link.
    const { start } = this.#peek();
    while (this.#peek().kind === 'field') path.push(this.#next().text.slice(1));
    switch (term.kind) {
      case 'field':
      case 'variable':
        return { ...term, start, path: [...term.path, ...path] };
      case 'bool':
      case 'string':
      case 'number':
      case 'nil':
      case 'dot':
        return this.#fail(`unexpected . after term ${quoteGo(printNode(term))}`);
      default:
        return { kind: 'chain', start, target: term, path };
    }
  }

  #term(): Operand | undefined {
    const token = this.#next();
    const { start, text } = token;
    switch (token.kind) {
      case 'identifier':
        if (!this.#functions.has(text)) this.#fail(`function ${quoteGo(text)} not defined`);
        return { kind: 'identifier', start, name: text };
      case 'dot':
        return { kind: 'dot', start };
      case 'keyword':
        if (text === 'nil') return { kind: 'nil', start };
        break;
      case 'variable':
        if (!this.#variables.includes(text)) this.#fail(`undefined variable ${quoteGo(text)}`);
        return { kind: 'variable', start, name: text, path: [] };
      case 'field':
        return { kind: 'field', start, path: [text.slice(1)] };
      case 'bool':
        return { kind: 'bool', start, value: text === 'true' };
      case 'number':
      case 'char-constant':
        return this.#number(token);
      case 'left-paren':
        return this.#pipeline('parenthesized pipeline', 'right-paren');
      case 'string':
      case 'raw-string':
        return { kind: 'string', start, source: text, value: this.#unquote(token) };
      default:
        break;
    }
    this.#at--;
    return undefined;
  }

  #unquote(token: Token): string {
    if (token.kind === 'raw-string') return token.text.slice(1, -1).replaceAll('\r', '');
    const value = unquoteGo(token.text);
    if (value === undefined) this.#fail('invalid syntax');
    return value;
  }

  #number(token: Token): NumberNode {
    const { start, text } = token;
    if (token.kind === 'char-constant') {
      const value = unquoteGo(text);
      if (value === undefined || Array.from(value).length !== 1)
        this.#fail(`malformed character constant: ${text}`);
      const int = BigInt(value.codePointAt(0)!);
      return { kind: 'number', start, source: text, int, float: Number(int), prefersFloat: false };
    }
    const parsed = parseNumber(text);
    if (parsed === undefined) this.#fail(`illegal number syntax: ${quoteGo(text)}`);
    if (parsed === 'overflow') this.#fail(`integer overflow: ${quoteGo(text)}`);
    return { kind: 'number', start, source: text, ...parsed };
  }
}

const INT_MAX = (1n << 63n) - 1n;

/** Reads a Go number literal; `overflow` for an integer that no int64 holds. */
function parseNumber(
  text: string,
): Pick<NumberNode, 'int' | 'float' | 'prefersFloat'> | undefined | 'overflow' {
  const match = /^([+-]?)(.*)$/.exec(text)!;
  const negative = match[1] === '-';
  const digits = match[2]!.replaceAll('_', '');
  let int: bigint | undefined;
  if (/^(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0|[1-9]\d*)$/.test(digits)) int = BigInt(digits);
  else if (/^0[0-7]+$/.test(digits)) int = BigInt(`0o${digits.slice(1)}`);
  if (int !== undefined) {
    if (negative) int = -int;
    if (int > INT_MAX || int < -INT_MAX - 1n) return 'overflow';
    return { int, float: Number(int), prefersFloat: false };
  }
  if (!/^(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(digits)) return undefined;
  const float = Number(digits) * (negative ? -1 : 1);
  if (!Number.isFinite(float)) return undefined;
  const whole = Number.isSafeInteger(float) ? BigInt(float) : undefined;
  return { int: whole, float, prefersFloat: true };
}

const OPERAND_STARTS: ReadonlySet<TokenKind> = new Set<TokenKind>([
  'bool',
  'char-constant',
  'dot',
  'field',
  'identifier',
  'number',
  'raw-string',
  'string',
  'variable',
  'left-paren',
]);

function startsOperand(token: Token): boolean {
  return OPERAND_STARTS.has(token.kind) || (token.kind === 'keyword' && token.text === 'nil');
}

function printToken(token: Token): string {
  if (token.kind === 'eof') return 'EOF';
  if (token.kind === 'keyword' || token.kind === 'dot') return `<${token.text}>`;
  return token.text.length > 10 ? `${quoteGo(token.text.slice(0, 10))}...` : quoteGo(token.text);
}
