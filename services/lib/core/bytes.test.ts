import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteReader, ByteWriter, compareBytes, decodeUtf8, encodeUtf8 } from './bytes.ts';

test.each([
  [0, [0]],
  [127, [0x7f]],
  [128, [0x80, 0x01]],
  [300, [0xac, 0x02]],
  [2 ** 32, [0x80, 0x80, 0x80, 0x80, 0x10]],
  [2 ** 53 - 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]],
])('varint of %d', (value, bytes) => {
  const writer = new ByteWriter(1);
  writer.varint(value);
  expect([...writer.take()]).toEqual(bytes);
  expect(new ByteReader(writer.take()).varint()).toBe(value);
});

test('a varint beyond 2^53 - 1 or without an end is refused', () => {
  expect(() => new ByteReader(new Uint8Array(9).fill(0xff)).varint()).toThrow(/2\^53/);
  expect(() => new ByteReader(new Uint8Array([0x80])).varint()).toThrow(/truncated/);
});

test('bytes copied from a view are those that stand there, whatever their number and place', () => {
  const source = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(source, fc.nat(300), fc.nat(300), fc.nat(9), (bytes, a, b, before) => {
      const start = Math.min(a, b, bytes.length);
      const end = Math.min(Math.max(a, b), bytes.length);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const writer = new ByteWriter(1);
      for (let i = 0; i < before; i++) writer.u8(i);
      writer.rawFrom(view, start, end);
      writer.u8(255);
      const expected = [...Array(before).keys(), ...bytes.slice(start, end), 255];
      expect([...writer.take()]).toEqual(expected);
    }),
  );
});

test('what is written is read back, whatever the order and the growth', () => {
  const item = fc.oneof(
    fc.record({ kind: fc.constant('varint' as const), value: fc.maxSafeNat() }),
    fc.record({ kind: fc.constant('u32' as const), value: fc.nat(0xffffffff) }),
    fc.record({ kind: fc.constant('string' as const), value: fc.string({ unit: 'binary' }) }),
  );
  fc.assert(
    fc.property(fc.array(item), (items) => {
      const writer = new ByteWriter(1);
      for (const each of items) {
        if (each.kind === 'varint') writer.varint(each.value);
        else if (each.kind === 'u32') writer.u32(each.value);
        else writer.string(each.value);
      }
      const reader = new ByteReader(writer.take());
      for (const each of items) {
        if (each.kind === 'varint') expect(reader.varint()).toBe(each.value);
        else if (each.kind === 'u32') expect(reader.u32()).toBe(each.value);
        else expect(reader.string()).toBe(each.value.toWellFormed());
      }
      expect(reader.remaining).toBe(0);
    }),
  );
});

test('reading over the end throws, at any position', () => {
  const reader = new ByteReader(new Uint8Array(4));
  expect(() => reader.raw(5)).toThrow(/truncated/);
  expect(() => reader.raw(-1)).toThrow(/truncated/);
  reader.u32();
  expect(() => reader.u8()).toThrow(/truncated/);
});

test('UTF-8 of short and long text, ASCII or not', () => {
  for (const text of ['', 'up', 'größe', 'x'.repeat(25), `${'é'.repeat(40)}😀`]) {
    const bytes = encodeUtf8(text);
    expect(decodeUtf8(bytes, 0, bytes.length)).toBe(text);
  }
});

test('compareBytes sorts a prefix first and bytes as unsigned', () => {
  const of = (...bytes: number[]) => Uint8Array.from(bytes);
  expect(compareBytes(of(1), of(1, 0))).toBeLessThan(0);
  expect(compareBytes(of(0x80), of(0x7f))).toBeGreaterThan(0);
  expect(compareBytes(of(1, 2), of(1, 2))).toBe(0);
});
