// What stays in plaintext while a running cluster changes to TLS (--cluster.tls-transition): counted, and said once, so that nobody takes the
// cluster for one that is safe, and everybody sees when the flag can go.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Logger } from '../../runtime/logger.ts';
import type { Side } from './tls-refusals.ts';

/** Addresses that are remembered, not to be named again. */
const PEERS_MAX = 1_000;

export class TlsTransition {
  readonly #connections: Counter;
  readonly #logger: Logger;
  readonly #said = new Set<string>();

  constructor(deps: { readonly registry: Registry; readonly logger: Logger }) {
    const registers = [deps.registry];
    this.#logger = deps.logger;
    this.#connections = new Counter({
      name: 'tidemark_tls_plaintext_connections_total',
      help: 'Connections in plaintext that were accepted (server) or chosen (client) because of --cluster.tls-transition.',
      labelNames: ['side'],
      registers,
    });
    const isOn = new Gauge({
      name: 'tidemark_tls_transition',
      help: '1 while connections in plaintext are accepted beside TLS (--cluster.tls-transition).',
      registers,
    });
    isOn.set(1);
    for (const side of ['server', 'client'] satisfies Side[]) this.#connections.inc({ side }, 0);
    deps.logger.warn(
      'connections in plaintext are accepted as well: once all services were restarted with certificates, restart them without --cluster.tls-transition',
    );
  }

  /** A connection in plaintext with `peer`, as host or `host:port`. */
  report(side: Side, peer: string): void {
    this.#connections.inc({ side });
    const key = `${side} ${peer}`;
    if (this.#said.has(key) || this.#said.size >= PEERS_MAX) return;
    this.#said.add(key);
    this.#logger.info({ side, peer }, 'a connection in plaintext: the other side takes no TLS yet');
  }
}
