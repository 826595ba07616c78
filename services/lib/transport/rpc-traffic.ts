// Bytes of messages that calls between processes carry, by method: what replication and fan-out cost the network. Counted as
// gRPC gets them, without its own framing (5 bytes a message, 9 per HTTP/2 frame).
import { Counter, type Registry } from 'prom-client';

/** Counts of one method of one side. Hot: plain fields. */
export interface MethodTraffic {
  sentBytes: number;
  sentMessages: number;
  receivedBytes: number;
  receivedMessages: number;
}

/** What the calls of a process carried, by `Service/Method`. */
export interface RpcTraffic {
  /** The counts of a method; the caller adds to them. */
  of(method: string): MethodTraffic;
}

/** Counters of a process; with a registry they are shown as metrics. */
export function createRpcTraffic(registry?: Registry): RpcTraffic {
  const methods = new Map<string, MethodTraffic>();
  if (registry !== undefined) {
    show(registry, methods, 'sent_bytes', 'Bytes of messages sent to other processes.', (m) => m.sentBytes);
    show(registry, methods, 'sent_messages', 'Messages sent to other processes.', (m) => m.sentMessages);
    show(
      registry,
      methods,
      'received_bytes',
      'Bytes of messages received from other processes.',
      (m) => m.receivedBytes,
    );
    show(
      registry,
      methods,
      'received_messages',
      'Messages received from other processes.',
      (m) => m.receivedMessages,
    );
  }
  return {
    of: (method) => {
      let traffic = methods.get(method);
      if (traffic === undefined) {
        traffic = { sentBytes: 0, sentMessages: 0, receivedBytes: 0, receivedMessages: 0 };
        methods.set(method, traffic);
      }
      return traffic;
    },
  };
}

function show(
  registry: Registry,
  methods: ReadonlyMap<string, MethodTraffic>,
  what: string,
  help: string,
  read: (traffic: MethodTraffic) => number,
): void {
  new Counter({
    name: `tidemark_rpc_${what}_total`,
    help,
    labelNames: ['method'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [method, traffic] of methods) {
        const value = read(traffic);
        if (value > 0) this.inc({ method }, value);
      }
    },
  });
}
