// Loops of joins over the columns of a pair.
import { ABSENT, FLOAT } from '../operand.ts';

/** Sets flags where a column has values. */
export function mark(kinds: Uint8Array, flags: Uint8Array): void {
  for (let k = 0; k < kinds.length; k++) if (kinds[k] !== ABSENT) flags[k] = 1;
}

/** both[k] = 1 where both have a value at step k; answers whether there is any. */
export function markBoth(a: Uint8Array, b: Uint8Array, offset: number, both: Uint8Array): boolean {
  let any = 0;
  for (let k = 0; k < both.length; k++) {
    const here = a[k] !== ABSENT && b[offset + k] !== ABSENT ? 1 : 0;
    both[k] = here;
    any |= here;
  }
  return any !== 0;
}

/** Writes values where `at` says so, from `offset` on; false where one is there already. */
export function writeColumn(
  at: Uint8Array,
  values: Float64Array,
  valuesOffset: number,
  outValues: Float64Array,
  outKinds: Uint8Array,
  offset: number,
): boolean {
  for (let k = 0; k < at.length; k++) {
    if (at[k] === 0) continue;
    if (outKinds[offset + k] !== ABSENT) return false;
    outKinds[offset + k] = FLOAT;
    outValues[offset + k] = values[valuesOffset + k]!;
  }
  return true;
}
