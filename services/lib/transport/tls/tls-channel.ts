// The client's end of mutual TLS, as gRPC asks for it: credentials that take the certificates of the moment for each new connection and
// check the name in the peer's. One object serves all channels of a process, so that channels to one peer share a connection.
import { isIP } from 'node:net';
import { type ConnectionOptions, checkServerIdentity, connect, type TLSSocket } from 'node:tls';
import { CallCredentials, ChannelCredentials, type experimental } from '@grpc/grpc-js';
import { splitAddress } from '../process-flags.ts';
import type { TlsIdentity } from './tls-identity.ts';
import { refusalReasonOf, remedyOf, type TlsRefusals } from './tls-refusals.ts';

type Connector = experimental.SecureConnector;
type Target = experimental.GrpcUri;

export interface TlsChannelOptions {
  /** DNS name that the peer's certificate must have; empty: the host that is called. */
  readonly peerName: string;
}

/** Credentials whose connections are made by a function of the peer's `host:port` and its open socket. */
class ConnectingCredentials extends ChannelCredentials {
  readonly #connect: (address: string, socket: Parameters<Connector['connect']>[0]) => Promise<TLSSocket>;

  constructor(
    connectTo: (address: string, socket: Parameters<Connector['connect']>[0]) => Promise<TLSSocket>,
  ) {
    super();
    this.#connect = connectTo;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(target: Target, _: unknown, callCredentials?: CallCredentials): Connector {
    return {
      connect: async (socket) => ({ socket: await this.#connect(target.path, socket), secure: true }),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials ?? CallCredentials.createEmpty(),
      destroy: () => undefined,
    };
  }
}

/** Credentials of a process that has certificates. */
export function createTlsChannelCredentials(
  options: TlsChannelOptions,
  deps: { readonly identity: TlsIdentity; readonly refusals: TlsRefusals },
): ChannelCredentials {
  const { identity, refusals } = deps;
  return new ConnectingCredentials((address, socket) => {
    const { host } = splitAddress(address);
    const name = host.replaceAll(/[[\]]/g, '');
    const expected = options.peerName || name;
    const tls = connect({
      socket: socket as NonNullable<ConnectionOptions['socket']>,
      secureContext: identity.material.context,
      ALPNProtocols: ['h2'],
      host: name,
      ...(isIP(expected) === 0 && { servername: expected }),
      checkServerIdentity: (_, certificate) => checkServerIdentity(expected, certificate),
    });
    return secured(tls, (code) => {
      refusals.report('client', address, code);
      return new Error(remedyOf(refusalReasonOf(code), code));
    });
  });
}

/** Credentials that never connect: every call fails with the reason. */
export function createRefusingCredentials(reasonOf: (address: string) => string): ChannelCredentials {
  return new ConnectingCredentials((address, socket) => {
    socket.destroy();
    return Promise.reject(new Error(reasonOf(address)));
  });
}

/** Resolves when the peer has shown that it may be trusted; whether it trusts us shows with its first bytes. */
function secured(tls: TLSSocket, failed: (code: string) => Error): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    tls.once('secureConnect', () => resolve(tls));
    tls.once('close', () =>
      reject(new Error('the peer closed the connection while TLS was being agreed on')),
    );
    // Also afterwards: with TLS 1.3 the peer judges our certificate once the client's side is done.
    tls.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code ?? '';
      if (code === 'ECONNRESET' || code === 'EPIPE') reject(error);
      else reject(failed(code));
    });
  });
}
