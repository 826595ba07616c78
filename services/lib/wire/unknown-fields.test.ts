// Processes of two versions talk to each other during an upgrade: what the newer one says and the older one does not know must not
// disturb the rest (RELIABILITY R19).
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { expect, test } from 'vitest';
import * as contracts from './contracts.ts';

interface Codec {
  fromPartial(partial: object): unknown;
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}

interface Service {
  readonly name: string;
  readonly methods: Readonly<
    Record<string, { readonly requestType: unknown; readonly responseType: unknown }>
  >;
}

const isService = (value: unknown): value is Service =>
  typeof value === 'object' && value !== null && 'methods' in value && 'fullName' in value;
const services = Object.values(contracts as Readonly<Record<string, unknown>>).filter(isService);

/** Fields of each wire type, of numbers that no contract uses. */
function futureFields(): Uint8Array {
  const writer = new BinaryWriter();
  writer.uint32(15_001 << 3).uint64(7);
  writer.uint32((15_002 << 3) | 1).fixed64(7);
  writer.uint32((15_003 << 3) | 2).bytes(new Uint8Array(300).fill(0xff));
  writer.uint32((15_004 << 3) | 5).fixed32(7);
  return writer.finish();
}

test('there are services', () => {
  expect(services.length).toBeGreaterThan(4);
});

test.each(services.map((service) => [service.name, service] as const))(
  '%s: fields of a later version are passed over in every message',
  (_, { methods }) => {
    for (const { requestType, responseType } of Object.values(methods)) {
      for (const type of [requestType, responseType] as Codec[]) {
        const known = type.encode(type.fromPartial({})).finish();
        const future = futureFields();
        const expected = type.decode(known);
        expect(type.decode(Buffer.concat([known, future]))).toEqual(expected);
        expect(type.decode(Buffer.concat([future, known]))).toEqual(expected);
      }
    }
  },
);
