import { expect, test } from 'vitest';
import { IngesterDefinition } from '../../wire/contracts.ts';
import { AppendRequest } from '../../wire/gen/tidemark/v1/ingester.ts';
import { createRpcTraffic } from '../rpc-traffic.ts';
import { grpcMethodsOf } from './grpc-methods.ts';

function requestOf(sequence: number, batchBytes: number): AppendRequest {
  const batch = Buffer.alloc(batchBytes, sequence);
  return { tenant: 'a', writerId: 'w', sequence, epoch: 1, batch, metadata: [] };
}

test('a message has nothing of the ones before, be they longer, large, or none that can be encoded', () => {
  const traffic = createRpcTraffic();
  const { requestSerialize } = grpcMethodsOf(IngesterDefinition, traffic).append!;
  const sent: [AppendRequest, Buffer][] = [];
  const send = (request: AppendRequest): void => {
    sent.push([request, requestSerialize(request)]);
  };
  send(requestOf(1, 10_000));
  send(requestOf(2, 10));
  const broken = { ...requestOf(3, 100), fenceToken: -1 };
  expect(() => requestSerialize(broken)).toThrow();
  send(requestOf(4, 0));
  send(requestOf(5, 1 << 20));
  send(requestOf(6, 20));
  for (const [{ sequence, batch }, bytes] of sent) {
    const read = AppendRequest.decode(bytes);
    expect({ ...read, batch: Buffer.compare(read.batch, batch) }).toMatchObject({
      sequence,
      batch: 0,
      writerId: 'w',
    });
    expect(read.fenceToken).toBeUndefined();
  }
  expect(traffic.of('Ingester/Append').sentMessages).toBe(sent.length);
});
