// Why a connection between two services did not come about, from what OpenSSL and Node say: a bounded set of reasons with a remedy each,
// counted, and logged once a minute per peer, since peers try again and again.
import { Counter, type Registry } from 'prom-client';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/logger.ts';

/** Who did not let the other in. */
export type Side = 'server' | 'client';

export type RefusalReason =
  | 'no_certificate'
  | 'untrusted'
  | 'expired'
  | 'wrong_name'
  | 'plaintext'
  | 'refused_by_peer'
  | 'other';

const REMEDIES: Readonly<Record<RefusalReason, string>> = {
  no_certificate:
    'it shows no certificate: start it with --cluster.tls-cert-file, --cluster.tls-key-file and --cluster.tls-ca-file',
  untrusted: 'its certificate is from no authority in --cluster.tls-ca-file: give both the same authorities',
  expired:
    'its certificate has ended, or does not hold yet: renew it, and compare the clocks of both machines',
  wrong_name:
    'its certificate has another name: it must have the one of --cluster.tls-peer-name, or without that flag the address that is called, among its subject alternative names',
  plaintext:
    'it does not speak TLS: start it with --cluster.tls-cert-file, --cluster.tls-key-file and --cluster.tls-ca-file',
  refused_by_peer: 'it did not accept the certificate of this process: its log says why',
  other: 'TLS could not be agreed on',
};

const REASON_OF = new Map<string, RefusalReason>([
  ['ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', 'no_certificate'],
  ['CERT_HAS_EXPIRED', 'expired'],
  ['CERT_NOT_YET_VALID', 'expired'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'wrong_name'],
  ['ERR_SSL_HTTP_REQUEST', 'plaintext'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'plaintext'],
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'plaintext'],
  ['ERR_SSL_UNEXPECTED_MESSAGE', 'plaintext'],
]);
const UNTRUSTED = /SELF_SIGNED|UNABLE_TO_|CERT_|INVALID_CA|INVALID_PURPOSE|UNSPECIFIED/;

/** One of a bounded set, for a code of Node or OpenSSL. */
export function refusalReasonOf(code: string): RefusalReason {
  const exact = REASON_OF.get(code);
  if (exact !== undefined) return exact;
  if (/ALERT/.test(code)) return 'refused_by_peer';
  return UNTRUSTED.test(code) ? 'untrusted' : 'other';
}

/** The reason in words: what is wrong and what to do. */
export function remedyOf(reason: RefusalReason, code: string): string {
  return code === '' ? REMEDIES[reason] : `${REMEDIES[reason]} (${code})`;
}

const SILENCE_MS = 60_000;
/** Peers that are remembered at one time; a flood of addresses is logged again rather than remembered. */
const PEERS_MAX = 1_000;

/** Refusals of one process. */
export class TlsRefusals {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #count: Counter<'side' | 'reason'>;
  readonly #loggedAtMs = new Map<string, number>();

  constructor(deps: { readonly clock: Clock; readonly logger: Logger; readonly registry: Registry }) {
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#count = new Counter({
      name: 'tidemark_tls_refused_connections_total',
      help: 'Connections between services that were refused, by this process as server or as client.',
      labelNames: ['side', 'reason'],
      registers: [deps.registry],
    });
  }

  /** @param peer Host without the port, which changes with each attempt, or `host:port` of the one that is called. */
  report(side: Side, peer: string, code: string, known?: RefusalReason): void {
    const reason = known ?? refusalReasonOf(code);
    this.#count.inc({ side, reason });
    const key = `${side} ${peer} ${reason}`;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - (this.#loggedAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < SILENCE_MS) return;
    if (this.#loggedAtMs.size >= PEERS_MAX) this.#loggedAtMs.clear();
    this.#loggedAtMs.set(key, nowMs);
    const what = side === 'server' ? 'refused a connection from' : 'no connection to';
    this.#logger.warn({ peer, reason: remedyOf(reason, code) }, `${what} another service`);
  }
}
