import { expect, test } from 'vitest';
import { ByteWriter, encodeUtf8 } from '../../core/bytes.ts';
import { encodeRecord, encodeSegmentHead, findRecord, tryRecord, trySegmentSalt } from './record.ts';

// docs/format/log.md, "Golden bytes".
const SALT = 0x01020304;
const HEAD_COPY = '544d4c47 0100 0000 04030201 1fe82617'.replaceAll(' ', '');
const RECORD = '03000000 290541a3 02000000 09000000 0500000001000000 616263'.replaceAll(' ', '');

function golden(): Uint8Array<ArrayBuffer> {
  const dst = new ByteWriter(8);
  encodeSegmentHead(dst, 7, SALT);
  const payload = encodeUtf8('xabcx');
  encodeRecord(dst, SALT, 2, 9, 2 ** 32 + 5, payload, 1, 4);
  return dst.take();
}

test('golden bytes of the format document', () => {
  expect(Buffer.from(golden()).toString('hex')).toBe(HEAD_COPY + HEAD_COPY + RECORD);
  const bytes = Buffer.from(HEAD_COPY + HEAD_COPY + RECORD, 'hex');
  expect(trySegmentSalt(bytes, bytes.length, 7)).toBe(SALT);
  expect(trySegmentSalt(bytes, bytes.length, 8)).toBeUndefined();
  expect(tryRecord(bytes, 32, bytes.length, SALT)).toEqual({
    type: 2,
    writer: 9,
    sequence: 2 ** 32 + 5,
    start: 56,
    end: 59,
  });
});

test('one flipped bit in a head leaves the salt readable, in a record it is noticed', () => {
  const whole = golden();
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const bytes = whole.slice();
    bytes[bit >>> 3]! ^= 1 << (bit & 7);
    expect(trySegmentSalt(bytes, bytes.length, 7)).toBe(SALT);
    const record = tryRecord(bytes, 32, bytes.length, SALT);
    if (bit < 32 * 8) expect(record).toBeDefined();
    else expect(record).toBeUndefined();
  }
});

test('the next whole record is found behind damage, one inside a payload is not', () => {
  const foreign = new ByteWriter();
  encodeRecord(foreign, 0x5eed, 1, 1, 1, encodeUtf8('forged'), 0, 6);
  const dst = new ByteWriter();
  for (let i = 0; i < 11; i++) dst.u8(0);
  const payload = foreign.take();
  const first = dst.length;
  encodeRecord(dst, SALT, 1, 1, 1, payload, 0, payload.length);
  const second = dst.length;
  encodeRecord(dst, SALT, 1, 1, 2, payload, 0, payload.length);
  const bytes = dst.take();
  expect(findRecord(bytes, 0, bytes.length, SALT, 1e6)).toBe(first);
  expect(findRecord(bytes, first + 1, bytes.length, SALT, 1e6)).toBe(second);
  expect(findRecord(bytes, second + 1, bytes.length, SALT, 1e6)).toBe(bytes.length);
  expect(findRecord(bytes, first + 1, bytes.length, SALT, 10)).toBe(bytes.length);
});
