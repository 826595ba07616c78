import { expect, test } from 'vitest';
import { WriteNumbers } from './write-numbers.ts';

test('each section says how far back the write before with samples of its partition is, to all replicas alike', () => {
  const numbers = new WriteNumbers('00000000000000ab');
  numbers.begin();
  expect(numbers.of([0, 2])).toEqual({ origin: '00000000000000ab', write: 1, steps: new Uint8Array([1, 1]) });
  expect(numbers.of([2])).toEqual({ origin: '00000000000000ab', write: 1, steps: new Uint8Array([1]) });
  numbers.begin();
  expect(numbers.of([0])).toMatchObject({ write: 2, steps: new Uint8Array([1]) });
  numbers.begin();
  expect(numbers.of([0, 2, 500])).toMatchObject({ write: 3, steps: new Uint8Array([1, 2, 3]) });
  for (let i = 0; i < 200; i++) numbers.begin();
  // 200 as a varint.
  expect(numbers.of([500])).toMatchObject({ write: 203, steps: new Uint8Array([0xc8, 0x01]) });
});
