// Runs a parsed template: Go's text/template over our values, synchronously, with bounds on output, depth and steps.
// What a function cannot answer at once (a query) it says by throwing QueryNeeded; expand.ts asks and runs again.
import { AppError } from '../../core/errors.ts';
import type {
  Branch,
  Command,
  Node,
  NumberNode,
  Operand,
  Pipeline,
  TemplateNode,
  TemplateTree,
} from './ast.ts';
import { printNode } from './ast.ts';
import { methodOf } from './methods.ts';
import { printValue } from './printf.ts';
import type { ParameterType, TemplateFunction } from './template-function.ts';
import {
  isTruthy,
  SAMPLE_TYPE,
  TemplateList,
  TemplateMap,
  TemplateStruct,
  typeName,
  type Value,
} from './values.ts';

/** Most UTF-16 code units that one expansion may produce. */
export const OUTPUT_LENGTH_MAX = 1 << 20;
/** Deepest `template` within `template`. */
const DEPTH_MAX = 100;
/** Most nodes and range rounds of one expansion. */
const STEPS_MAX = 1_000_000;

/** Thrown by `query` when the answer must be fetched first. Never leaves the package. */
export class QueryNeeded extends Error {
  readonly query: string;

  constructor(query: string) {
    super(query);
    this.query = query;
  }
}

/** No value was piped into a command. Distinct from the value nil. */
const MISSING = Symbol('missing');
type Piped = Value | typeof MISSING;

type Jump = 'none' | 'break' | 'continue';

/** What an error can point at. */
type Located = Operand | Command | TemplateNode;

interface Variable {
  readonly name: string;
  value: Value;
}

/**
 * Runs a template.
 *
 * @throws AppError `execution` with Go's message; QueryNeeded.
 */
export function executeTemplate(
  tree: TemplateTree,
  root: Value,
  functions: ReadonlyMap<string, TemplateFunction>,
): string {
  const execution = new Execution(tree, functions);
  execution.run(tree.root, root, tree.name);
  return execution.output;
}

class Execution {
  output = '';
  readonly #tree: TemplateTree;
  readonly #functions: ReadonlyMap<string, TemplateFunction>;
  /** Name of the template that runs, for messages. */
  #name = '';
  #variables: Variable[] = [];
  #steps = 0;
  #depth = 0;
  /** Where an error happened: the node evaluated last, as Go reports it. */
  #node: Located | undefined;

  constructor(tree: TemplateTree, functions: ReadonlyMap<string, TemplateFunction>) {
    this.#tree = tree;
    this.#functions = functions;
  }

  run(nodes: readonly Node[], dot: Value, name: string): void {
    const outer = { variables: this.#variables, name: this.#name };
    this.#variables = [{ name: '$', value: dot }];
    this.#name = name;
    if (++this.#depth > DEPTH_MAX) this.#fail(`exceeded maximum template depth (${DEPTH_MAX})`);
    this.#walkList(dot, nodes);
    this.#depth--;
    this.#variables = outer.variables;
    this.#name = outer.name;
  }

  #fail(message: string): never {
    let text = `template: ${this.#name}: ${message}`;
    if (this.#node !== undefined) {
      const context = `executing ${JSON.stringify(this.#name)} at <${printNode(this.#node)}>`;
      text = `template: ${this.#location(this.#node.start)}: ${context}: ${message}`;
    }
    throw new AppError('execution', text);
  }

  /** `name:line:column`; the column counts bytes from 0. */
  #location(start: number): string {
    const before = this.#tree.source.slice(0, start);
    const lineStart = before.lastIndexOf('\n') + 1;
    const line = before.split('\n').length;
    return `${this.#tree.name}:${line}:${Buffer.byteLength(before.slice(lineStart))}`;
  }

  #step(): void {
    if (++this.#steps > STEPS_MAX) this.#fail(`more than ${STEPS_MAX} steps`);
  }

  #write(text: string): void {
    if (this.output.length + text.length > OUTPUT_LENGTH_MAX) {
      this.#fail(`output is longer than ${OUTPUT_LENGTH_MAX} characters`);
    }
    this.output += text;
  }

  #walkList(dot: Value, nodes: readonly Node[]): Jump {
    for (const node of nodes) {
      const jump = this.#walk(dot, node);
      if (jump !== 'none') return jump;
    }
    return 'none';
  }

  #walk(dot: Value, node: Node): Jump {
    this.#step();
    switch (node.kind) {
      case 'text':
        this.#write(node.text);
        return 'none';
      case 'action': {
        const value = this.#pipeline(dot, node.pipeline);
        if (node.pipeline.declared.length === 0) this.#print(value);
        return 'none';
      }
      case 'if':
      case 'with':
        return this.#walkIfOrWith(dot, node);
      case 'range':
        return this.#walkRange(dot, node);
      case 'template': {
        this.#node = node;
        const body = this.#tree.definitions.get(node.name);
        if (body === undefined) this.#fail(`template ${JSON.stringify(node.name)} not defined`);
        const argument = node.pipeline === undefined ? undefined : this.#pipeline(dot, node.pipeline);
        this.run(body, argument, node.name);
        return 'none';
      }
      case 'break':
      case 'continue':
        return node.kind;
    }
  }

  #print(value: Value): void {
    if (value === undefined) this.#write('<no value>');
    // An action prints what a pointer points to.
    else if (value instanceof TemplateStruct && value.isPointer) this.#write(printValue(value).slice(1));
    else this.#write(printValue(value));
  }

  #walkIfOrWith(dot: Value, node: Branch): Jump {
    const mark = this.#variables.length;
    const value = this.#pipeline(dot, node.pipeline);
    let jump: Jump = 'none';
    if (isTruthy(value)) jump = this.#walkList(node.kind === 'with' ? value : dot, node.body);
    else if (node.otherwise !== undefined) jump = this.#walkList(dot, node.otherwise);
    this.#variables.length = mark;
    return jump;
  }

  #walkRange(dot: Value, node: Branch): Jump {
    const outerMark = this.#variables.length;
    const value = this.#pipeline(dot, node.pipeline);
    const mark = this.#variables.length;
    let jump: Jump = 'none';
    let ran = false;
    for (const [index, element] of this.#elements(value)) {
      ran = true;
      this.#step();
      this.#bindRange(node.pipeline, index, element);
      const inner = this.#walkList(element, node.body);
      this.#variables.length = mark;
      if (inner === 'break') break;
    }
    if (!ran && node.otherwise !== undefined) jump = this.#walkList(dot, node.otherwise);
    this.#variables.length = outerMark;
    return jump;
  }

  *#elements(value: Value): Generator<[Value, Value]> {
    if (value === undefined) return;
    if (value instanceof TemplateList) {
      for (let i = 0; i < value.items.length; i++) yield [BigInt(i), value.items[i]];
    } else if (value instanceof TemplateMap) {
      for (const key of value.sortedKeys()) yield [key, value.get(key)];
    } else if (typeof value === 'bigint') {
      for (let i = 0n; i < value; i++) yield [i, i];
    } else {
      this.#fail(`range can't iterate over ${printValue(value)}`);
    }
  }

  #bindRange(pipeline: Pipeline, index: Value, element: Value): void {
    const { declared, assigns } = pipeline;
    if (declared.length === 0) return;
    const pair = declared.length > 1 ? [index, element] : [element];
    for (let i = 0; i < declared.length; i++) {
      if (assigns) this.#assign(declared[i]!, pair[i]);
      else this.#variables[this.#variables.length - declared.length + i]!.value = pair[i];
    }
  }

  #assign(name: string, value: Value): void {
    const variable = this.#variables.findLast((candidate) => candidate.name === name);
    if (variable === undefined) this.#fail(`undefined variable: ${name}`);
    variable.value = value;
  }

  #pipeline(dot: Value, pipeline: Pipeline): Value {
    let value: Piped = MISSING;
    for (const command of pipeline.commands) value = this.#command(dot, command, value);
    const result = value === MISSING ? undefined : value;
    for (const name of pipeline.declared) {
      if (pipeline.assigns) this.#assign(name, result);
      else this.#variables.push({ name, value: result });
    }
    return result;
  }

  #command(dot: Value, command: Command, piped: Piped): Value {
    this.#step();
    const first = command.args[0]!;
    switch (first.kind) {
      case 'identifier':
        this.#node = first;
        return this.#call(dot, first.name, command, command.args, piped);
      case 'field':
        this.#node = first;
        return this.#fields(dot, first, first.path, dot, command.args, piped);
      case 'variable': {
        this.#node = first;
        const value = this.#variable(first.name);
        if (first.path.length > 0) return this.#fields(dot, first, first.path, value, command.args, piped);
        this.#rejectArguments(command, piped);
        return value;
      }
      case 'chain':
        return this.#chain(dot, first, command.args, piped);
      case 'pipeline':
        this.#rejectArguments(command, piped);
        return this.#pipeline(dot, first);
      default:
        this.#node = first;
        this.#rejectArguments(command, piped);
        return this.#bare(dot, first);
    }
  }

  /** An operand that takes no arguments, as a command. */
  #bare(dot: Value, node: Extract<Operand, { kind: 'bool' | 'dot' | 'nil' | 'number' | 'string' }>): Value {
    switch (node.kind) {
      case 'dot':
        return dot;
      case 'nil':
        return this.#fail('nil is not a command');
      case 'number':
        return numberValue(node);
      case 'bool':
      case 'string':
        return node.value;
    }
  }

  #rejectArguments(command: Command, piped: Piped): void {
    if (command.args.length > 1 || piped !== MISSING) {
      this.#node = command.args[0]!;
      this.#fail(`can't give argument to non-function ${printNode(command.args[0]!)}`);
    }
  }

  #variable(name: string): Value {
    const variable = this.#variables.findLast((candidate) => candidate.name === name);
    if (variable === undefined) this.#fail(`undefined variable: ${name}`);
    return variable.value;
  }

  #chain(
    dot: Value,
    node: Extract<Operand, { kind: 'chain' }>,
    args: readonly Operand[],
    piped: Piped,
  ): Value {
    this.#node = node;
    if (node.target.kind === 'nil') this.#fail(`indirection through explicit nil in ${printNode(node)}`);
    const target = this.#argument(dot, 'any', node.target);
    return this.#fields(dot, node, node.path, target, args, piped);
  }

  /** `.a.b.c`: only the last step may take arguments. */
  #fields(
    dot: Value,
    node: Operand,
    path: readonly string[],
    receiver: Value,
    args: readonly Operand[],
    piped: Piped,
  ): Value {
    let value = receiver;
    for (let i = 0; i < path.length; i++) {
      this.#node = node;
      const last = i === path.length - 1;
      value = this.#field(dot, path[i]!, value, last ? args : args.slice(0, 1), last ? piped : MISSING);
    }
    return value;
  }

  #field(dot: Value, name: string, receiver: Value, args: readonly Operand[], piped: Piped): Value {
    if (receiver === undefined) return undefined;
    const method = methodOf(receiver, name);
    if (method !== undefined) return this.#invoke(dot, name, method, args, piped);
    const hasArguments = args.length > 1 || piped !== MISSING;
    if (receiver instanceof TemplateStruct && receiver.fields.has(name)) {
      if (hasArguments) this.#fail(`${name} has arguments but cannot be invoked as function`);
      return receiver.fields.get(name);
    }
    if (receiver instanceof TemplateMap) {
      if (hasArguments) this.#fail(`${name} is not a method but has arguments`);
      return receiver.get(name);
    }
    return this.#fail(`can't evaluate field ${name} in type ${typeName(receiver)}`);
  }

  #call(dot: Value, name: string, node: Operand | Command, args: readonly Operand[], piped: Piped): Value {
    if (name === 'and' || name === 'or') return this.#shortCircuit(dot, name, args, piped);
    if (name === 'tmpl') return this.#nestedTemplate(dot, args, piped);
    const definition = this.#functions.get(name);
    if (definition === undefined) this.#fail(`${JSON.stringify(name)} is not a defined function`);
    const values = this.#arguments(dot, name, definition, args, piped);
    return this.#apply(name, definition, values, node);
  }

  #invoke(
    dot: Value,
    name: string,
    definition: TemplateFunction,
    args: readonly Operand[],
    piped: Piped,
  ): Value {
    const node = this.#node;
    const values = this.#arguments(dot, name, definition, args, piped);
    return this.#apply(name, definition, values, node);
  }

  #apply(
    name: string,
    definition: TemplateFunction,
    values: readonly Value[],
    node: Located | undefined,
  ): Value {
    try {
      return definition.call(values);
    } catch (caught) {
      if (caught instanceof QueryNeeded) throw caught;
      this.#node = node;
      return this.#fail(
        `error calling ${name}: ${caught instanceof Error ? caught.message : String(caught)}`,
      );
    }
  }

  #arguments(
    dot: Value,
    name: string,
    definition: TemplateFunction,
    args: readonly Operand[],
    piped: Piped,
  ): Value[] {
    const { params, rest } = definition;
    const given = args.length - 1 + (piped === MISSING ? 0 : 1);
    if (rest !== undefined ? given < params.length : given !== params.length) {
      const least = rest === undefined ? '' : 'at least ';
      this.#fail(`wrong number of args for ${name}: want ${least}${params.length} got ${given}`);
    }
    const values: Value[] = [];
    for (let i = 1; i < args.length; i++) {
      values.push(this.#argument(dot, params[i - 1] ?? rest ?? 'any', args[i]!));
    }
    if (piped !== MISSING) values.push(this.#checked(piped, params[given - 1] ?? rest ?? 'any'));
    return values;
  }

  /** `and` and `or` evaluate no further than they must. */
  #shortCircuit(dot: Value, name: 'and' | 'or', args: readonly Operand[], piped: Piped): Value {
    if (args.length < 2 && piped === MISSING) {
      this.#fail(`wrong number of args for ${name}: want at least 1 got 0`);
    }
    let value: Value;
    for (let i = 1; i < args.length; i++) {
      value = this.#argument(dot, 'any', args[i]!);
      if (isTruthy(value) === (name === 'or')) return value;
    }
    return piped === MISSING ? value : piped;
  }

  /** Prometheus' `tmpl "name" data`: the text of a defined template. */
  #nestedTemplate(dot: Value, args: readonly Operand[], piped: Piped): Value {
    const definition: TemplateFunction = {
      params: ['string', 'any'],
      rest: undefined,
      call: () => undefined,
    };
    const [name, argument] = this.#arguments(dot, 'tmpl', definition, args, piped);
    const body = this.#tree.definitions.get(name as string);
    if (body === undefined) this.#fail(`error calling tmpl: template ${JSON.stringify(name)} not defined`);
    const before = this.output.length;
    this.run(body, argument, name as string);
    const text = this.output.slice(before);
    this.output = this.output.slice(0, before);
    return text;
  }

  /** An operand as an argument of the given Go type. */
  #argument(dot: Value, type: ParameterType, node: Operand): Value {
    this.#step();
    this.#node = node;
    switch (node.kind) {
      case 'dot':
        return this.#checked(dot, type);
      case 'nil':
        if (type === 'string' || type === 'int' || type === 'float')
          this.#fail(`cannot assign nil to ${GO_TYPE[type]}`);
        return undefined;
      case 'field':
        return this.#checked(this.#fields(dot, node, node.path, dot, [node], MISSING), type);
      case 'variable': {
        const value = this.#variable(node.name);
        return this.#checked(this.#fields(dot, node, node.path, value, [node], MISSING), type);
      }
      case 'pipeline':
        return this.#checked(this.#pipeline(dot, node), type);
      case 'identifier':
        return this.#checked(this.#call(dot, node.name, node, [node], MISSING), type);
      case 'chain':
        return this.#checked(this.#chain(dot, node, [node], MISSING), type);
      default:
        return this.#constant(node, type);
    }
  }

  #constant(node: Extract<Operand, { kind: 'bool' | 'number' | 'string' }>, type: ParameterType): Value {
    switch (type) {
      case 'any':
        return node.kind === 'number' ? numberValue(node) : node.value;
      case 'string':
        return node.kind === 'string' ? node.value : this.#fail(`expected string; found ${printNode(node)}`);
      case 'float':
        return node.kind === 'number' && node.float !== undefined
          ? node.float
          : this.#fail(`expected float; found ${printNode(node)}`);
      case 'int':
        return node.kind === 'number' && node.int !== undefined
          ? node.int
          : this.#fail(`expected integer; found ${printNode(node)}`);
      case 'sample':
      case 'result':
        return this.#fail(`can't handle ${printNode(node)} for arg of type ${GO_TYPE[type]}`);
    }
  }

  #checked(value: Value, type: ParameterType): Value {
    if (type === 'any' || fits(value, type)) return value;
    if (value === undefined) {
      return this.#fail(`invalid value; expected ${GO_TYPE[type]}`);
    }
    return this.#fail(`wrong type for value; expected ${GO_TYPE[type]}; got ${typeName(value)}`);
  }
}

const GO_TYPE: Readonly<Record<ParameterType, string>> = {
  any: 'interface {}',
  string: 'string',
  float: 'float64',
  int: 'int',
  sample: '*template.sample',
  result: 'template.queryResult',
};

function fits(value: Value, type: Exclude<ParameterType, 'any'>): boolean {
  switch (type) {
    case 'string':
      return typeof value === 'string';
    case 'float':
      return typeof value === 'number';
    case 'int':
      return typeof value === 'bigint';
    case 'sample':
      return value instanceof TemplateStruct && value.typeName === SAMPLE_TYPE;
    case 'result':
      return value instanceof TemplateList;
  }
}

function numberValue(node: NumberNode): Value {
  return node.prefersFloat || node.int === undefined ? node.float : node.int;
}
