// The parser's view of the tokens: one token of lookahead, cut only when it is looked at, so that errors come in the
// order in which Prometheus finds them. Bounds nesting.
import { goQuote } from './go-quote.ts';
import { Lexer } from './lexer.ts';
import { ParseError } from './parse-error.ts';
import { describeToken, type Token } from './token.ts';

/** Deepest nesting of parentheses, calls, powers and signs: each level costs a few frames of the stack. */
export const NESTING_MAX = 500;

export class TokenStream {
  readonly query: string;
  readonly #lexer: Lexer;
  #ahead: Token | undefined;
  #last: Token | undefined;
  #nesting = 0;
  /** Construct that an unexpected token is reported in, unless a nearer one says otherwise. */
  #context = '';

  constructor(query: string) {
    this.query = query;
    this.#lexer = new Lexer(query);
  }

  peek(): Token {
    this.#ahead ??= this.#lexer.next();
    return this.#ahead;
  }

  next(): Token {
    const token = this.peek();
    this.#ahead = undefined;
    this.#last = token;
    return token;
  }

  /** End of the last token taken. */
  get lastEnd(): number {
    return this.#last?.end ?? 0;
  }

  is(id: string): boolean {
    return this.peek().id === id;
  }

  /** Takes the next token when it is `id`. */
  accept(id: string): Token | undefined {
    return this.is(id) ? this.next() : undefined;
  }

  /** Takes `id` or fails. */
  expect(id: string, context?: string, expected?: string): Token {
    return this.accept(id) ?? this.unexpected(context, expected);
  }

  /** Runs `parse` with another context for unexpected tokens. */
  within<T>(context: string, parse: () => T): T {
    const outer = this.#context;
    this.#context = context;
    const result = parse();
    this.#context = outer;
    return result;
  }

  /** Runs `parse` one level deeper. */
  nested<T>(parse: () => T): T {
    if (++this.#nesting > NESTING_MAX) {
      this.fail(
        this.peek().start,
        `expression is nested deeper than the limit of ${NESTING_MAX} levels; simplify it`,
      );
    }
    const result = parse();
    this.#nesting--;
    return result;
  }

  /** Fails because of the next token. */
  unexpected(context: string = this.#context, expected = ''): never {
    const token = this.peek();
    const where = context === '' ? '' : ` in ${context}`;
    const wanted = expected === '' ? '' : `, expected ${expected}`;
    return this.fail(token.start, `unexpected ${describeToken(token)}${where}${wanted}`);
  }

  fail(offset: number, reason: string): never {
    throw new ParseError(this.query, offset, reason);
  }

  /** Names a token in messages that quote it. */
  quote(text: string): string {
    return goQuote(text);
  }
}
