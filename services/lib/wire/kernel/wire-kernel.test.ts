import { expect, test } from 'vitest';
import { compileKernel } from '../../../../test/support/compiled-kernel.ts';
import { WireKernel } from './wire-kernel.ts';

test('kernel.wasm is what the sources in assembly/ make (npm run generate:wire-kernel)', {
  timeout: 180_000,
}, async () => {
  const { made, committed } = await compileKernel('services/lib/wire/kernel', [
    'snappy',
    'known-series',
    'packed-columns',
  ]);
  expect(made.equals(committed)).toBe(true);
});

test('memory grows with what is in it; two kernels have nothing in common', () => {
  const kernel = new WireKernel(1);
  const other = new WireKernel(1);
  const { room, bytes } = kernel;
  expect(room % 8).toBe(0);
  bytes[room] = 7;
  expect(other.bytes[room]).toBe(0);
  kernel.grow(bytes.length + 1);
  expect(bytes.length).toBe(0);
  expect(kernel.bytes.length % 65_536).toBe(0);
  expect(kernel.bytes[room]).toBe(7);
  const { bytes: grown } = kernel;
  kernel.grow(1);
  expect(kernel.bytes).toBe(grown);
});
