import { expect, test } from 'vitest';
import { Negotiator, negotiate } from './remote-write-negotiation.ts';

const HEADERS = [
  {},
  { 'content-type': 'application/x-protobuf', 'content-encoding': 'snappy' },
  {
    'content-type': 'application/x-protobuf;proto=io.prometheus.write.v2.Request',
    'content-encoding': 'snappy',
  },
  { 'content-type': 'application/x-protobuf', 'content-encoding': 'zstd' },
  { 'content-type': 'application/json', 'content-encoding': 'snappy' },
  { 'content-encoding': 'snappy' },
];

test('what a sender said last is never taken for what another one says', () => {
  const negotiator = new Negotiator();
  for (const first of HEADERS) {
    for (const second of HEADERS) {
      expect(negotiator.negotiate(first)).toEqual(negotiate(first));
      expect(negotiator.negotiate(second)).toEqual(negotiate(second));
    }
  }
  expect(negotiate(HEADERS[2]!)).toEqual({ version: 2, compression: 'snappy' });
  expect(negotiate(HEADERS[4]!)).toHaveProperty('refusal');
});
