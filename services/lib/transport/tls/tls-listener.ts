// The server's end of mutual TLS: accepts connections, lets in who shows a certificate of one of our authorities with the agreed name, and
// hands those to gRPC. It stands before gRPC's own listener because that neither says why it refused whom nor checks names.
import { constants } from 'node:crypto';
import {
  type AddressInfo,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket,
} from 'node:net';
import { checkServerIdentity, createServer, type Server, type TLSSocket } from 'node:tls';
import { AppError } from '../../core/errors.ts';
import { TLS_VERSION_MIN, type TlsMaterial } from './tls-files.ts';
import type { TlsIdentity } from './tls-identity.ts';
import type { TlsRefusals } from './tls-refusals.ts';
import type { TlsTransition } from './tls-transition.ts';

export interface TlsListenerOptions {
  readonly host: string;
  readonly port: number;
  /** DNS name that the certificate of a caller must have; empty: any certificate of our authorities will do. */
  readonly peerName: string;
}

export interface TlsListenerDeps {
  readonly identity: TlsIdentity;
  readonly refusals: TlsRefusals;
  /** Takes connections that have been let in. */
  readonly accept: (socket: Socket) => void;
  /** Present: who speaks plaintext is let in as well, and told of here. */
  readonly transition?: TlsTransition | undefined;
}

/** A handshake takes two round trips; who needs longer holds a socket for nothing. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** First byte of a TLS handshake record; HTTP/2 in plaintext begins with `PRI`. */
const HANDSHAKE_RECORD = 0x16;

export class TlsListener {
  readonly #options: TlsListenerOptions;
  readonly #deps: TlsListenerDeps;
  readonly #server: Server;
  /** What listens: the server itself, or what looks first whether a connection is to become TLS. */
  readonly #front: NetServer;
  readonly #unsubscribe: () => void;
  #isClosed = false;

  constructor(options: TlsListenerOptions, deps: TlsListenerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#server = createServer(
      {
        ...secretsOf(deps.identity.material),
        ALPNProtocols: ['h2'],
        requestCert: true,
        // Judged below, where the caller's address is still known for the log: Node would close the connection before.
        rejectUnauthorized: false,
        minVersion: TLS_VERSION_MIN,
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        // A resumed session would be let in by the authorities and the time of its first handshake.
        secureOptions: constants.SSL_OP_NO_TICKET,
        noDelay: true,
      },
      (socket) => this.#judge(socket),
    );
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) =>
      this.#abandon(error, socket),
    );
    this.#front =
      deps.transition === undefined
        ? this.#server
        : createNetServer({ noDelay: true }, (socket) => this.#choose(socket));
    this.#unsubscribe = deps.identity.onChange((material) =>
      this.#server.setSecureContext(secretsOf(material)),
    );
  }

  /** Listens; resolves to the bound port. @throws AppError `unavailable`. */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#front.once('error', (error) =>
        reject(new AppError('unavailable', `gRPC: ${error.message}`, { cause: error })),
      );
      this.#front.listen(this.#options.port, this.#options.host, () =>
        resolve((this.#front.address() as AddressInfo).port),
      );
    });
  }

  /** Accepts nothing more. Connections that were let in belong to gRPC. */
  close(): void {
    this.#isClosed = true;
    this.#unsubscribe();
    this.#front.close();
  }

  /** By its first byte; who sends none in time holds a socket for nothing. */
  #choose(socket: Socket): void {
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_TIMEOUT_MS);
    socket.on('error', () => undefined);
    socket.once('close', () => clearTimeout(timer));
    const look = (): void => {
      const first = socket.read(1) as Buffer | null;
      if (first === null) {
        if (!socket.readableEnded) socket.once('readable', look);
        return;
      }
      clearTimeout(timer);
      socket.unshift(first);
      if (this.#isClosed) socket.destroy();
      else if (first[0] === HANDSHAKE_RECORD) this.#server.emit('connection', socket);
      else {
        this.#deps.transition?.report('server', hostOf(socket));
        this.#deps.accept(socket);
      }
    };
    look();
  }

  #judge(socket: TLSSocket): void {
    // gRPC hears of errors through its session; without a listener a late one would end the process.
    socket.on('error', () => undefined);
    const refusal = this.#refusalOf(socket);
    if (refusal !== undefined) this.#deps.refusals.report('server', hostOf(socket), refusal);
    if (refusal !== undefined || this.#isClosed) socket.destroy();
    else this.#deps.accept(socket);
  }

  /** Why the caller may not come in, as a code; undefined when it may. */
  #refusalOf(socket: TLSSocket): string | undefined {
    const certificate = socket.getPeerCertificate();
    if (Object.keys(certificate).length === 0) return 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE';
    // Node has the code where its types promise an error.
    if (!socket.authorized) return String(socket.authorizationError);
    const { peerName } = this.#options;
    if (peerName === '' || checkServerIdentity(peerName, certificate) === undefined) return undefined;
    return 'ERR_TLS_CERT_ALTNAME_INVALID';
  }

  /** No handshake came about. */
  #abandon(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    socket.on('error', () => undefined);
    // Port scans and probes of load balancers connect and leave.
    if (error.code !== 'ECONNRESET') this.#deps.refusals.report('server', hostOf(socket), error.code ?? '');
    socket.destroy();
  }
}

const secretsOf = ({ cert, key, ca }: TlsMaterial) => ({ cert, key, ca });

const hostOf = (socket: Socket): string => socket.remoteAddress ?? 'unknown';
