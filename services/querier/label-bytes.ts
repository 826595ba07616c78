// Canonical label bytes (model/labels.ts) compared without decoding them.

/** Prometheus' label order of two label sets given as canonical bytes: pair by pair, names before values. */
export function compareLabelBytes(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  let i = aStart;
  let j = bStart;
  while (i < aEnd && j < bEnd) {
    // A string's length is a varint; most are one byte.
    let aLength = a[i++]!;
    if (aLength > 127) {
      aLength -= 128;
      for (let factor = 128; ; factor *= 128) {
        const byte = a[i++]!;
        aLength += (byte & 127) * factor;
        if (byte < 128) break;
      }
    }
    let bLength = b[j++]!;
    if (bLength > 127) {
      bLength -= 128;
      for (let factor = 128; ; factor *= 128) {
        const byte = b[j++]!;
        bLength += (byte & 127) * factor;
        if (byte < 128) break;
      }
    }
    const shared = Math.min(aLength, bLength);
    for (let k = 0; k < shared; k++) {
      const difference = a[i + k]! - b[j + k]!;
      if (difference !== 0) return difference;
    }
    if (aLength !== bLength) return aLength - bLength;
    i += aLength;
    j += bLength;
  }
  return aEnd - i - (bEnd - j);
}

/** True when both ranges hold the same bytes. */
export function equalBytes(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): boolean {
  const length = aEnd - aStart;
  if (length !== bEnd - bStart) return false;
  for (let i = 0; i < length; i++) if (a[aStart + i] !== b[bStart + i]) return false;
  return true;
}
