// The 64-bit hash that Prometheus gives a label set: XXH64, seed 0, over its compact label encoding (each name and
// value with its length before it: one byte below 255, else 255 and three bytes). limit_ratio depends on it.
import type { Labels } from '../../../model/labels.ts';

const MASK = (1n << 64n) - 1n;
const PRIME1 = 0x9e3779b185ebca87n;
const PRIME2 = 0xc2b2ae3d27d4eb4fn;
const PRIME3 = 0x165667b19e3779f9n;
const PRIME4 = 0x85ebca77c2b2ae63n;
const PRIME5 = 0x27d4eb2f165667c5n;

/** Prometheus' hash of a label set, unsigned. For the rare caller: it computes with bigint. */
export function labelsHash64(labels: Labels): bigint {
  const parts: Uint8Array[] = [];
  for (const text of labels.pairs) {
    const bytes = Buffer.from(text);
    const size = bytes.length;
    parts.push(
      size < 255
        ? Uint8Array.of(size)
        : Uint8Array.of(255, size & 0xff, (size >> 8) & 0xff, (size >> 16) & 0xff),
      bytes,
    );
  }
  return xxhash64(Buffer.concat(parts));
}

function rotate(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & MASK;
}

function round(accumulator: bigint, input: bigint): bigint {
  return (rotate((accumulator + input * PRIME2) & MASK, 31n) * PRIME1) & MASK;
}

function mergeRound(hash: bigint, accumulator: bigint): bigint {
  return ((hash ^ round(0n, accumulator)) * PRIME1 + PRIME4) & MASK;
}

/** XXH64 with seed 0. Source: the xxHash specification, version 0.1.1. */
export function xxhash64(bytes: Buffer): bigint {
  const size = bytes.length;
  let at = 0;
  let hash: bigint;
  if (size >= 32) {
    const lanes = [(PRIME1 + PRIME2) & MASK, PRIME2, 0n, -PRIME1 & MASK];
    for (; at + 32 <= size; at += 32) {
      for (let lane = 0; lane < 4; lane++) {
        lanes[lane] = round(lanes[lane]!, bytes.readBigUInt64LE(at + lane * 8));
      }
    }
    const [a, b, c, d] = lanes as [bigint, bigint, bigint, bigint];
    hash = (rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n)) & MASK;
    for (const lane of lanes) hash = mergeRound(hash, lane);
  } else {
    hash = PRIME5;
  }
  hash = (hash + BigInt(size)) & MASK;
  for (; at + 8 <= size; at += 8) {
    hash = (rotate(hash ^ round(0n, bytes.readBigUInt64LE(at)), 27n) * PRIME1 + PRIME4) & MASK;
  }
  if (at + 4 <= size) {
    hash = (rotate(hash ^ ((BigInt(bytes.readUInt32LE(at)) * PRIME1) & MASK), 23n) * PRIME2 + PRIME3) & MASK;
    at += 4;
  }
  for (; at < size; at++) {
    hash = (rotate(hash ^ ((BigInt(bytes[at]!) * PRIME5) & MASK), 11n) * PRIME1) & MASK;
  }
  hash = ((hash ^ (hash >> 33n)) * PRIME2) & MASK;
  hash = ((hash ^ (hash >> 29n)) * PRIME3) & MASK;
  return hash ^ (hash >> 32n);
}
