// Comparisons of byte ranges inside larger buffers, without views.

/** Negative, zero or positive as a[aStart, aEnd) sorts before, with or after b[bStart, bEnd), byte by byte. */
export function compareRanges(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  const aLength = aEnd - aStart;
  const bLength = bEnd - bStart;
  const shared = Math.min(aLength, bLength);
  for (let i = 0; i < shared; i++) {
    const difference = a[aStart + i]! - b[bStart + i]!;
    if (difference !== 0) return difference;
  }
  return aLength - bLength;
}

/** Bytes that a[aStart, aEnd) and b[bStart, bEnd) have in common from the front. */
export function sharedPrefixBytes(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  const most = Math.min(aEnd - aStart, bEnd - bStart);
  let shared = 0;
  while (shared < most && a[aStart + shared] === b[bStart + shared]) shared++;
  return shared;
}

/** The same from the back. */
export function sharedSuffixBytes(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  const most = Math.min(aEnd - aStart, bEnd - bStart);
  let shared = 0;
  while (shared < most && a[aEnd - 1 - shared] === b[bEnd - 1 - shared]) shared++;
  return shared;
}
