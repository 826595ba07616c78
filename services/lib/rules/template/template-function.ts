// How template functions are declared: Go's parameter types, so that arguments are checked as Go's reflection does.
import type { Value } from './values.ts';

/** Go type of a parameter. */
export type ParameterType = 'any' | 'string' | 'float' | 'int' | 'sample' | 'result';

export interface TemplateFunction {
  readonly params: readonly ParameterType[];
  /** Type of further arguments; undefined when there are none. */
  readonly rest: ParameterType | undefined;
  /** Gets arguments of the declared types; what it throws becomes `error calling NAME: …`. */
  readonly call: (values: readonly Value[]) => Value;
}
