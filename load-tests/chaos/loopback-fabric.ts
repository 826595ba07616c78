// All processes on loopback, each behind a fault proxy where others reach it and where it reaches NATS.
import type { Fabric, Place } from './fabric.ts';
import { FaultProxy } from './fault-proxy.ts';

export class LoopbackFabric implements Fabric {
  readonly nats;
  readonly #proxies: FaultProxy[] = [];
  #port: number;

  /** @param basePort  Ports from here on are taken, four for each process. */
  constructor(basePort: number) {
    this.#port = basePort;
    this.nats = { prefix: [], host: '127.0.0.1', port: this.#port++ };
  }

  async place(): Promise<Place> {
    const [http, grpc, grpcProxy, natsProxy] = [this.#port++, this.#port++, this.#port++, this.#port++];
    const calls = await FaultProxy.start(grpcProxy, grpc);
    const nats = await FaultProxy.start(natsProxy, this.nats.port);
    this.#proxies.push(calls, nats);
    return {
      prefix: [],
      httpListen: `127.0.0.1:${http}`,
      grpcListen: `127.0.0.1:${grpc}`,
      grpcAdvertise: `127.0.0.1:${grpcProxy}`,
      natsUrl: `nats://127.0.0.1:${natsProxy}`,
      flags: [],
      wires: {
        silence: () => {
          calls.silence();
          nats.silence();
        },
        heal: () => {
          calls.heal();
          nats.heal();
        },
        delay: (ms) => calls.delay(ms),
        reset: () => calls.reset(),
      },
    };
  }

  async stop(): Promise<void> {
    for (const proxy of this.#proxies) await proxy.stop();
  }
}
