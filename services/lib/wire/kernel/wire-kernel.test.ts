import { readFileSync } from 'node:fs';
import { main } from 'assemblyscript/asc';
import { expect, test } from 'vitest';
import { WireKernel } from './wire-kernel.ts';

const folder = new URL('./', import.meta.url);

test('kernel.wasm is what the sources in assembly/ make (npm run generate:kernel)', {
  timeout: 180_000,
}, async () => {
  let made: Uint8Array | undefined;
  const sources = ['snappy', 'known-series'].map((name) => `services/lib/wire/kernel/assembly/${name}.ts`);
  const config = 'services/lib/wire/kernel/assembly/asconfig.json';
  const { error } = await main([...sources, '--config', config, '--outFile', 'kernel.wasm'], {
    writeFile: (name, contents) => {
      if (name.endsWith('kernel.wasm')) made = contents as Uint8Array;
    },
  });
  expect(error).toBeNull();
  expect(Buffer.from(made!).equals(readFileSync(new URL('kernel.wasm', folder)))).toBe(true);
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
