// A TCP proxy in front of one server that does what networks do: silence (a partition: connections stay, nothing arrives), delay,
// resets. For machines without netem, and for what netem does not know.
import { connect, createServer, type Server, type Socket } from 'node:net';

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

/** Addresses other than 127.0.0.1, in a network namespace. */
export interface ProxyHosts {
  readonly host: string;
  readonly targetHost: string;
}

const LOOPBACK: ProxyHosts = { host: '127.0.0.1', targetHost: '127.0.0.1' };

export class FaultProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #targetHost: string;
  readonly #pairs = new Set<Pair>();
  #isSilent = false;
  #delayMs = 0;

  private constructor(port: number, targetPort: number, targetHost: string) {
    this.port = port;
    this.#targetPort = targetPort;
    this.#targetHost = targetHost;
    this.#server = createServer((near) => this.#accept(near));
  }

  /** Listens on a port, of loopback unless `hosts` says otherwise, in front of another. */
  static async start(port: number, targetPort: number, hosts = LOOPBACK): Promise<FaultProxy> {
    const proxy = new FaultProxy(port, targetPort, hosts.targetHost);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(port, hosts.host, resolve);
    });
    return proxy;
  }

  /** Nothing passes, in either direction, and nobody is told. */
  silence(): void {
    this.#isSilent = true;
    for (const { near, far } of this.#pairs) {
      near.pause();
      far.pause();
    }
  }

  /** What was held back arrives. */
  heal(): void {
    this.#isSilent = false;
    this.#delayMs = 0;
    for (const { near, far } of this.#pairs) {
      near.resume();
      far.resume();
    }
  }

  /** @param ms  Added to each piece, in each direction. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Breaks all connections; the next ones are taken. */
  reset(): void {
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    this.#pairs.clear();
  }

  async stop(): Promise<void> {
    this.reset();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #accept(near: Socket): void {
    const far = connect(this.#targetPort, this.#targetHost);
    const pair: Pair = { near, far };
    this.#pairs.add(pair);
    this.#carry(near, far, pair);
    this.#carry(far, near, pair);
    if (!this.#isSilent) return;
    near.pause();
    far.pause();
  }

  #carry(from: Socket, to: Socket, pair: Pair): void {
    from.setNoDelay(true);
    from.on('data', (piece) => {
      if (this.#delayMs === 0) this.#pass(piece, from, to);
      else setTimeout(() => this.#pass(piece, from, to), this.#delayMs);
    });
    from.on('end', () => to.end());
    const drop = (): void => {
      this.#pairs.delete(pair);
      to.destroy();
    };
    from.on('error', drop);
    from.on('close', drop);
  }

  /** No faster than the other side takes it. */
  #pass(piece: Buffer | string, from: Socket, to: Socket): void {
    if (to.destroyed || to.write(piece)) return;
    from.pause();
    to.once('drain', () => {
      if (!this.#isSilent) from.resume();
    });
  }
}
