// All processes on loopback, each behind a fault proxy where others reach it and where it reaches NATS.
import { freePort } from '../../test/support/programs.ts';
import type { Fabric, Place } from './fabric.ts';
import { FaultProxy } from './fault-proxy.ts';

export class LoopbackFabric implements Fabric {
  readonly nats;
  readonly #proxies: FaultProxy[] = [];

  /** @param natsPort  A free port. */
  constructor(natsPort: number) {
    this.nats = { prefix: [], host: '127.0.0.1', port: natsPort };
  }

  async place(): Promise<Place> {
    const [http, grpc] = [await freePort(), await freePort()];
    const [grpcProxy, natsProxy] = [await freePort(), await freePort()];
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
