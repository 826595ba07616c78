import { expect, test } from 'vitest';
import { encodeUtf8 } from './bytes.ts';
import { hash128, hash128View } from './hash128.ts';

const hex = (text: string, seed: number): string => {
  const bytes = encodeUtf8(`..${text}..`);
  const out = new Uint32Array(4);
  hash128(bytes, 2, bytes.length - 2, seed, out);
  return Array.from(out, (word) => word.toString(16).padStart(8, '0')).join('');
};

// Worked out with the reference implementation in C (variant x86_128), words as unsigned hexadecimal.
test.each([
  ['hello', 0, '2b2444a0db91def79adb31b69adb31b6'],
  ['abc', 123, '076ad1bbad5f8508ad5f8508ad5f8508'],
  ['x'.repeat(31), 0, '6f01597a40788fe22e1bf366c04f22f7'],
  ['The quick brown fox jumps over the lazy dog', 123, '046466e6e4763389cd163e859374e752'],
  ['I will not buy this record, it is scratched.', 0, 'a0a9683b25ac5e40d9af2895890dddf5'],
])('reference value of %j, seed %i', (text, seed, expected) => {
  expect(hex(text, seed)).toBe(expected);
});

test('every prefix length gives another value, and the seed matters', () => {
  const seen = new Set<string>();
  const text = 'the quick brown fox jumps over the lazy dog';
  for (let n = 1; n <= text.length; n++) {
    seen.add(hex(text.slice(0, n), 7));
    seen.add(hex(text.slice(0, n), 8));
  }
  expect(seen.size).toBe(text.length * 2);
});

test('through a view it is the same value, for every length and alignment', () => {
  const bytes = new Uint8Array(200);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 167 + 13) & 255;
  const part = bytes.subarray(3);
  const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
  const expected = new Uint32Array(4);
  const actual = new Uint32Array(4);
  for (let start = 0; start < 5; start++) {
    for (let end = start; end < 120; end++) {
      hash128(part, start, end, 0x9e3779b9, expected);
      hash128View(part, view, start, end, 0x9e3779b9, actual);
      expect(actual, `[${start}, ${end})`).toEqual(expected);
    }
  }
});
