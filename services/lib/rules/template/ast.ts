// The syntax tree of a template and how its nodes print in error messages.

import { quoteGo } from './quote.ts';

/** Operands: what can stand as an argument. `start` is a UTF-16 offset into the template. */
export type Operand =
  | { readonly kind: 'dot'; readonly start: number }
  | { readonly kind: 'nil'; readonly start: number }
  | { readonly kind: 'bool'; readonly start: number; readonly value: boolean }
  | NumberNode
  | { readonly kind: 'string'; readonly start: number; readonly source: string; readonly value: string }
  | { readonly kind: 'identifier'; readonly start: number; readonly name: string }
  | { readonly kind: 'field'; readonly start: number; readonly path: readonly string[] }
  | {
      readonly kind: 'variable';
      readonly start: number;
      readonly name: string;
      readonly path: readonly string[];
    }
  | {
      readonly kind: 'chain';
      readonly start: number;
      readonly target: Operand;
      readonly path: readonly string[];
    }
  | Pipeline;

/** A number as written: Go decides by its use whether `1.0` is an int or a float. */
export interface NumberNode {
  readonly kind: 'number';
  readonly start: number;
  readonly source: string;
  readonly int: bigint | undefined;
  readonly float: number | undefined;
  /** Stands for a float where nothing says otherwise. */
  readonly prefersFloat: boolean;
}

export interface Command {
  readonly kind: 'command';
  readonly start: number;
  readonly args: readonly Operand[];
}

export interface Pipeline {
  readonly kind: 'pipeline';
  readonly start: number;
  /** Variables that take the value (or, in range, index and element). */
  readonly declared: readonly string[];
  /** `=` instead of `:=`. */
  readonly assigns: boolean;
  readonly commands: readonly Command[];
}

export type Node =
  | { readonly kind: 'text'; readonly start: number; readonly text: string }
  | { readonly kind: 'action'; readonly start: number; readonly pipeline: Pipeline }
  | Branch
  | TemplateNode
  | { readonly kind: 'break'; readonly start: number }
  | { readonly kind: 'continue'; readonly start: number };

/** `{{template "name" pipeline}}`; `start` is where the name stands. */
export interface TemplateNode {
  readonly kind: 'template';
  readonly start: number;
  readonly name: string;
  readonly pipeline: Pipeline | undefined;
}

export interface Branch {
  readonly kind: 'if' | 'with' | 'range';
  readonly start: number;
  readonly pipeline: Pipeline;
  readonly body: readonly Node[];
  readonly otherwise: readonly Node[] | undefined;
}

/** A parsed template with what it defines. */
export interface TemplateTree {
  readonly name: string;
  readonly source: string;
  readonly root: readonly Node[];
  readonly definitions: ReadonlyMap<string, readonly Node[]>;
}

/** A node as Go prints it between angle brackets. */
export function printNode(node: Operand | Command | TemplateNode): string {
  switch (node.kind) {
    case 'template': {
      const argument = node.pipeline === undefined ? '' : ` ${printNode(node.pipeline)}`;
      return `{{template ${quoteGo(node.name)}${argument}}}`;
    }
    case 'dot':
      return '.';
    case 'nil':
      return 'nil';
    case 'bool':
      return String(node.value);
    case 'number':
    case 'string':
      return node.source;
    case 'identifier':
      return node.name;
    case 'field':
      return `.${node.path.join('.')}`;
    case 'variable':
      return [node.name, ...node.path].join('.');
    case 'chain': {
      const target = printNode(node.target);
      return `${node.target.kind === 'pipeline' ? `(${target})` : target}.${node.path.join('.')}`;
    }
    case 'command':
      return node.args.map(printArgument).join(' ');
    case 'pipeline': {
      const commands = node.commands.map(printNode).join(' | ');
      if (node.declared.length === 0) return commands;
      return `${node.declared.join(', ')} ${node.assigns ? '=' : ':='} ${commands}`;
    }
  }
}

function printArgument(node: Operand): string {
  return node.kind === 'pipeline' ? `(${printNode(node)})` : printNode(node);
}
