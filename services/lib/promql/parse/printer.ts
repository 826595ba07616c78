// A tree back as text: on one line as Prometheus' String() prints it, or over several lines as /api/v1/format_query
// answers. Parsing what was printed gives the same tree.
import { formatDuration } from '../../model/duration.ts';
import { isLegacyLabelName, METRIC_NAME } from '../../model/labels.ts';
import type { Matcher } from '../../model/matcher.ts';
import type {
  Aggregation,
  AtModifier,
  BinaryExpr,
  DurationExpr,
  Expr,
  Subquery,
  UnaryExpr,
  VectorMatching,
  VectorSelector,
} from '../ast.ts';
import { formatDecimal, formatG } from '../engine/go-format.ts';
import { goQuote } from './go-quote.ts';

/** A node longer than this, in bytes of UTF-8, is spread over several lines. */
const LINE_BYTES_MAX = 100;
const INDENT = '  ';

/** The expression on one line. */
export function printExpr(expr: Expr): string {
  return new Printer().print(expr);
}

/** The expression with line breaks and indentation where it is long. */
export function formatExpr(expr: Expr): string {
  return new Printer().pretty(expr, 0);
}

/** Prints expressions of one tree: each node once, however often it is asked for or measured. */
export class Printer {
  readonly #texts = new Map<Expr, string>();

  /** The expression on one line. */
  print(expr: Expr): string {
    let text = this.#texts.get(expr);
    if (text === undefined) {
      text = this.#text(expr);
      this.#texts.set(expr, text);
    }
    return text;
  }

  #text(expr: Expr): string {
    switch (expr.kind) {
      case 'number':
        return expr.isDuration ? formatDuration(expr.value * 1000) : formatDecimal(expr.value);
      case 'string':
        return goQuote(expr.value);
      case 'vector-selector':
        return printSelector(expr);
      case 'matrix-selector': {
        const { at, offset, extension, ...bare } = expr.vector;
        const plain = printSelector({ ...bare, at: undefined, offset: undefined, extension: undefined });
        return `${plain}[${printDuration(expr.range)}]${printExtension(extension)}${printAt(at)}${printOffset(offset)}`;
      }
      case 'subquery':
        return `${this.print(expr.expr)}${subquerySuffix(expr)}`;
      case 'call':
        return `${expr.func}(${expr.args.map((arg) => this.print(arg)).join(', ')})`;
      case 'aggregation': {
        const param = expr.param === undefined ? '' : `${this.print(expr.param)}, `;
        return `${aggregationHead(expr)}(${param}${this.print(expr.expr)})`;
      }
      case 'binary':
        return `${this.print(expr.left)} ${binaryHead(expr)} ${this.print(expr.right)}`;
      case 'unary':
        return `${expr.operator}${this.print(expr.expr)}`;
      case 'paren':
        return `(${this.print(expr.expr)})`;
    }
  }

  /** The expression at an indentation; the first line is indented too. */
  pretty(expr: Expr, level: number): string {
    const indent = INDENT.repeat(level);
    if (expr.kind === 'unary') return this.#prettyUnary(expr, level);
    // A subquery that fits its line is not indented: Prometheus does it so.
    if (!this.#isLong(expr)) return expr.kind === 'subquery' ? this.print(expr) : indent + this.print(expr);
    switch (expr.kind) {
      case 'aggregation': {
        const param = expr.param === undefined ? '' : `${this.pretty(expr.param, level + 1)},\n`;
        const body = this.pretty(expr.expr, level + 1);
        return `${indent}${aggregationHead(expr)}(\n${param}${body}\n${indent})`;
      }
      case 'binary': {
        const left = this.pretty(expr.left, level + 1);
        return `${left}\n${indent}${binaryHead(expr)}\n${this.pretty(expr.right, level + 1)}`;
      }
      case 'call': {
        const args = expr.args.map((arg) => this.pretty(arg, level + 1)).join(',\n');
        return `${indent}${expr.func}(\n${args}\n${indent})`;
      }
      case 'paren':
        return `${indent}(\n${this.pretty(expr.expr, level + 1)}\n${indent})`;
      case 'subquery':
        return `${this.pretty(expr.expr, level)}${subquerySuffix(expr)}`;
      case 'number':
      case 'string':
      case 'vector-selector':
      case 'matrix-selector':
        return indent + this.print(expr);
    }
  }

  #prettyUnary(expr: UnaryExpr, level: number): string {
    return `${INDENT.repeat(level)}${expr.operator}${this.pretty(expr.expr, level).trim()}`;
  }

  #isLong(expr: Expr): boolean {
    const text = this.print(expr);
    return text.length > LINE_BYTES_MAX || Buffer.byteLength(text) > LINE_BYTES_MAX;
  }
}

function printSelector(selector: VectorSelector): string {
  const matchers = selector.matchers.filter((matcher) => !isOwnName(selector, matcher)).map(printMatcher);
  const braces = matchers.length === 0 ? '' : `{${matchers.sort(compareText).join(',')}}`;
  const empty = selector.name === '' && braces === '' ? '{}' : '';
  const { at, extension, offset } = selector;
  return `${selector.name}${braces}${empty}${printAt(at)}${printExtension(extension)}${printOffset(offset)}`;
}

function isOwnName(selector: VectorSelector, matcher: Matcher): boolean {
  const { name } = selector;
  return name !== '' && matcher.name === METRIC_NAME && matcher.operator === '=' && matcher.value === name;
}

function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function printMatcher(matcher: Matcher): string {
  return `${printLabel(matcher.name)}${matcher.operator}${goQuote(matcher.value)}`;
}

function printLabel(name: string): string {
  return isLegacyLabelName(name) ? name : goQuote(name);
}

function printLabels(names: readonly string[]): string {
  return `(${names.map(printLabel).join(', ')})`;
}

function aggregationHead({ operator, without, grouping }: Aggregation): string {
  if (without) return `${operator} without ${printLabels(grouping)} `;
  return grouping.length > 0 ? `${operator} by ${printLabels(grouping)} ` : operator;
}

function binaryHead({ operator, returnBool, matching }: BinaryExpr): string {
  const bool = returnBool ? ' bool' : '';
  return `${operator}${bool}${matching === undefined ? '' : printMatching(matching)}`;
}

function printMatching(matching: VectorMatching): string {
  const { cardinality, on, labels, include, fillLeft, fillRight } = matching;
  const isGrouped = cardinality === 'many-to-one' || cardinality === 'one-to-many';
  let text = '';
  if (labels.length > 0 || on || isGrouped) text += ` ${on ? 'on' : 'ignoring'} ${printLabels(labels)}`;
  if (isGrouped) text += ` group_${cardinality === 'many-to-one' ? 'left' : 'right'} ${printLabels(include)}`;
  if (fillLeft !== undefined && Object.is(fillLeft, fillRight)) return `${text} fill (${formatG(fillLeft)})`;
  if (fillLeft !== undefined) text += ` fill_left (${formatG(fillLeft)})`;
  if (fillRight !== undefined) text += ` fill_right (${formatG(fillRight)})`;
  return text;
}

function subquerySuffix({ range, step, at, offset }: Subquery): string {
  const stepText = step === undefined ? '' : printDuration(step);
  return `[${printDuration(range)}:${stepText}]${printAt(at)}${printOffset(offset)}`;
}

function printAt(at: AtModifier | undefined): string {
  if (at === undefined) return '';
  if (at.kind !== 'time') return ` @ ${at.kind}()`;
  const timeMs = Math.abs(at.timeMs);
  const millis = String(timeMs % 1000).padStart(3, '0');
  return ` @ ${at.timeMs < 0 ? '-' : ''}${formatDecimal(Math.floor(timeMs / 1000))}.${millis}`;
}

function printExtension(extension: VectorSelector['extension']): string {
  return extension === undefined ? '' : ` ${extension}`;
}

function printOffset(offset: DurationExpr | undefined): string {
  if (offset === undefined || (offset.kind === 'literal' && offset.durationMs === 0)) return '';
  return ` offset ${printDuration(offset)}`;
}

/** A duration that stands alone: literals always with units. */
function printDuration(duration: DurationExpr): string {
  return duration.kind === 'literal' ? formatDuration(duration.durationMs) : printOperation(duration);
}

function printOperand(duration: DurationExpr): string {
  if (duration.kind !== 'literal') return printOperation(duration);
  return duration.isDuration
    ? formatDuration(duration.durationMs)
    : formatDecimal(duration.durationMs / 1000);
}

function printOperation(duration: DurationExpr & { readonly kind: 'operation' }): string {
  const { operator, left, right, wrapped } = duration;
  const leftText = left === undefined ? '' : printOperand(left);
  const rightText = right === undefined ? '' : printOperand(right);
  let text: string;
  switch (operator) {
    case 'step':
    case 'range':
      text = `${operator}()`;
      break;
    case 'min':
    case 'max':
      text = `${operator}_of(${leftText}, ${rightText})`;
      break;
    default:
      // Prometheus prints (-1)^2 as -1 ^ 2, which means something else.
      if (operator === '^' && leftText.startsWith('-')) text = `(${leftText}) ^ ${rightText}`;
      else if (left !== undefined) text = `${leftText} ${operator} ${rightText}`;
      else text = operator === '-' ? `-${rightText}` : rightText;
  }
  return wrapped ? `(${text})` : text;
}
