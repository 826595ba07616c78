// From ts-proto's service definitions to grpc-js' method tables, and the channel options that both sides share.
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { ChannelOptions, MethodDefinition } from '@grpc/grpc-js';
import type { ServiceDefinition } from '../rpc.ts';
import type { MethodTraffic, RpcTraffic } from '../rpc-traffic.ts';
import { type MessagePacker, packerOf } from './frame-codec.ts';

interface MessageCodec {
  encode(message: unknown, writer: BinaryWriter): BinaryWriter;
  decode(bytes: Uint8Array): unknown;
}

/**
 * A writer that wrote up to so many bytes writes the next message, too: growing a new one for each takes 5 to 10 µs for the batch of a
 * write, and memory outside of V8's heap, for whose sake it collects. Larger messages are answers in pieces.
 */
const WRITER_BYTES_KEPT = 1 << 16;

/** Largest message either side takes: a batch or a frame is about 1 MiB, one very large series may be more. */
export const MESSAGE_BYTES_MAX = 64 << 20;

/**
 * Keep-alive finds a connection on which nothing arrives within 13 s, far beyond a pause of a living process: a query whose replicas are
 * cut off is refused then.
 */
export const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 8_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 5_000,
};

/** The methods of a service, by their key in the definition. What they carry is added to `traffic`. */
export function grpcMethodsOf(
  definition: ServiceDefinition,
  traffic: RpcTraffic,
): Record<string, MethodDefinition<unknown, unknown>> {
  const methods: Record<string, MethodDefinition<unknown, unknown>> = {};
  for (const [key, method] of Object.entries(definition.methods)) {
    const request = method.requestType as unknown as MessageCodec;
    const response = method.responseType as unknown as MessageCodec;
    const counts = traffic.of(`${definition.name}/${method.name}`);
    const packer = packerOf(method.responseType, MESSAGE_BYTES_MAX);
    methods[key] = {
      path: `/${definition.fullName}/${method.name}`,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      requestSerialize: serializer(request, counts),
      requestDeserialize: deserializer(request, counts),
      responseSerialize: serializer(response, counts, packer),
      responseDeserialize: deserializer(response, counts, packer),
    };
  }
  return methods;
}

function serializer(
  codec: MessageCodec,
  counts: MethodTraffic,
  packer?: MessagePacker,
): (message: unknown) => Buffer {
  let kept: BinaryWriter | undefined;
  return (message) => {
    const writer = kept ?? new BinaryWriter();
    // What a message that cannot be encoded leaves in it is nobody's.
    kept = undefined;
    const bytes = codec.encode(packer === undefined ? message : packer.pack(message), writer).finish();
    if (bytes.length <= WRITER_BYTES_KEPT) kept = writer;
    counts.sentBytes += bytes.length;
    counts.sentMessages++;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer(
  codec: MessageCodec,
  counts: MethodTraffic,
  packer?: MessagePacker,
): (bytes: Buffer) => unknown {
  return (bytes) => {
    counts.receivedBytes += bytes.length;
    counts.receivedMessages++;
    const message = codec.decode(bytes);
    return packer === undefined ? message : packer.unpack(message);
  };
}
