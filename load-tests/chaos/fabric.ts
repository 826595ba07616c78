// Where the processes of a chaos run live and what can be done to the wires between them: loopback with proxies (loopback-fabric.ts),
// or a network namespace for each (namespace-fabric.ts).

/** The wires of one process. Everything done to them ends with `heal`. */
export interface Wires {
  /** Nothing passes between it and any other process, in either direction, and nobody is told. */
  silence(): void;
  heal(): void;
  /** @param ms  Added to each piece that comes from or goes to whoever calls it, in each direction. */
  delay(ms: number): void;
  /** Breaks the connections of those who call it; new ones are taken. */
  reset(): void;
}

/** What only namespaces can do: packets are lost, in one direction or between two hosts. */
export interface PacketWires extends Wires {
  /** Packets from others do not arrive. */
  deafen(): void;
  /** Packets to others do not leave. */
  mute(): void;
  /** Nothing passes between this process and those, in either direction. */
  cutFrom(others: readonly { readonly address: string }[]): void;
  /** @param percent  Of packets from others, thrown away at random. */
  lose(percent: number): void;
  readonly address: string;
}

/** A place for one process. */
export interface Place<W extends Wires = Wires> {
  /** Stands before the command. */
  readonly prefix: readonly string[];
  /** `host:port`. */
  readonly httpListen: string;
  readonly grpcListen: string;
  /** Where others call it: perhaps through a proxy. */
  readonly grpcAdvertise: string;
  readonly natsUrl: string;
  readonly flags: readonly string[];
  readonly wires: W;
}

export interface Fabric<W extends Wires = Wires> {
  /** Of nats-server. */
  readonly nats: { readonly prefix: readonly string[]; readonly host: string; readonly port: number };
  place(name: string): Promise<Place<W>>;
  stop(): Promise<void>;
}
