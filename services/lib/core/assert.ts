// Assertions about our own code. They stay on in production: a broken invariant ends the process, which restarts
// from its log. Never use them for input.

/** Throws when an invariant does not hold. `message` says which, with the values. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

/** Marks code that the type checker proves unreachable; `value` is what arrived there all the same. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
