// Where a number or a duration ends, as Prometheus' lexer sees it: it goes on as long as the characters could belong to a
// number, so that what is wrong is quoted as far as it was read. Values are made elsewhere (number-literal.ts).
import type { TokenKind } from './token.ts';

export interface ScannedNumber {
  readonly kind: Extract<TokenKind, 'number' | 'duration'> | 'bad';
  /** Offset behind the last character, or behind the one that spoils it. */
  readonly end: number;
}

const DECIMAL = '0123456789';
const HEXADECIMAL = '0123456789abcdefABCDEF';
/** What may not follow a dot; an underscore or an exponent. */
const AFTER_DOT = '_.';
const AFTER_UNDERSCORE = '._eE';
const FIRST_UNITS = 'smhdwy';
/** Years come first or not at all. */
const FURTHER_UNITS = 'smhdw';

/** Scans what begins with a digit, or a dot and a digit, at `start`. */
export function scanNumber(query: string, start: number): ScannedNumber {
  const scanner = new Scanner(query, start);
  if (scanner.number()) return { kind: 'number', end: scanner.at };
  if (scanner.units()) return { kind: 'duration', end: scanner.at };
  return { kind: 'bad', end: scanner.at };
}

class Scanner {
  at: number;
  readonly #query: string;

  constructor(query: string, start: number) {
    this.#query = query;
    this.at = start;
  }

  #sees(characters: string): boolean {
    const char = this.#query[this.at];
    return char !== undefined && characters.includes(char);
  }

  #accept(characters: string): boolean {
    if (!this.#sees(characters)) return false;
    this.at++;
    return true;
  }

  #acceptAll(characters: string): void {
    while (this.#accept(characters));
  }

  #seesWord(): boolean {
    const char = this.#query[this.at];
    return char !== undefined && /[0-9A-Za-z_]/.test(char);
  }

  /** Whether a number ends here; otherwise `at` is behind what was read of it. */
  number(): boolean {
    let digits = DECIMAL;
    if (this.#accept('0') && this.#accept('xX')) {
      this.#accept('_');
      digits = HEXADECIMAL;
    }
    this.#accept('.');
    this.#accept(digits);
    return this.#rest(digits) && !this.#seesWord();
  }

  #rest(digits: string): boolean {
    let sawDot = false;
    let sawExponent = false;
    while (this.#sees(`${digits}._eE`)) {
      if (this.#accept('.')) {
        if (sawDot || this.#accept(AFTER_DOT) || digits === HEXADECIMAL) return false;
        sawDot = true;
      } else if (this.#accept('eE')) {
        if (sawExponent) return false;
        sawExponent = true;
        this.#accept('+-');
        if (this.#accept(AFTER_UNDERSCORE) || this.at === this.#query.length) return false;
      } else if (this.#accept('_')) {
        if (this.#accept(AFTER_UNDERSCORE) || this.at === this.#query.length) return false;
      } else {
        this.#acceptAll(digits);
      }
    }
    return true;
  }

  /** Whether units end here that belong to the number before them; which ones make a duration is decided later. */
  units(): boolean {
    if (!this.#accept(FIRST_UNITS)) return false;
    this.#accept('s');
    while (this.#accept(DECIMAL)) {
      this.#acceptAll(DECIMAL);
      if (!this.#accept(FURTHER_UNITS)) return false;
      this.#accept('s');
    }
    if (!this.#seesWord()) return true;
    this.at++;
    return false;
  }
}
