// How services protect their connections to each other: mutual TLS, or plaintext where it was chosen or nothing leaves the machine. Worked
// out from flags once, then asked by the gRPC server and by every client of the process.
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import type { Registry } from 'prom-client';
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/logger.ts';
import { isWildcard, PROCESS_FLAGS, type ProcessFlags, splitAddress } from '../process-flags.ts';
import { createRefusingCredentials, createTlsChannelCredentials } from './tls-channel.ts';
import { TlsIdentity } from './tls-identity.ts';
import { TlsRefusals } from './tls-refusals.ts';
import { TlsTransition } from './tls-transition.ts';

/** What a server needs to accept connections of other services. */
export interface TlsServerSecurity {
  readonly identity: TlsIdentity;
  readonly refusals: TlsRefusals;
  /** DNS name that the certificates of callers must have; empty: any name. */
  readonly peerName: string;
  /** Present: plaintext is accepted as well, and used with who takes no TLS yet. */
  readonly transition?: TlsTransition | undefined;
}

export interface ClusterSecurity {
  /** Undefined: plaintext. */
  readonly tls?: TlsServerSecurity;
  /**
   * Credentials of a channel to the peer at `host:port`.
   *
   * @param takesTls  Whether the peer says that it does. Only asked while a cluster changes to TLS: otherwise nobody can talk it out of TLS.
   */
  channelCredentials(address: string, takesTls?: boolean): ChannelCredentials;
}

/** Between two looks at the certificate files: a renewal is in use well before the old one ends. */
const RELOAD_INTERVAL_MS = 5_000;
const REMEDY =
  'give --cluster.tls-cert-file, --cluster.tls-key-file and --cluster.tls-ca-file, or choose plaintext with --cluster.insecure';

/** Plaintext to everybody: for tests and for one machine. */
export const PLAINTEXT: ClusterSecurity = { channelCredentials: () => credentials.createInsecure() };

/**
 * The security that the flags ask for; certificates are read.
 *
 * @throws AppError `bad_data` when flags contradict each other or files cannot be used.
 */
export async function openClusterSecurity(
  flags: ProcessFlags,
  deps: { readonly clock: Clock; readonly logger: Logger; readonly registry: Registry },
): Promise<ClusterSecurity> {
  const files = {
    cert: flags['cluster.tls-cert-file'],
    key: flags['cluster.tls-key-file'],
    ca: flags['cluster.tls-ca-file'],
  };
  const given = Object.values(files).filter((file) => file !== '').length;
  if (given === 0) {
    for (const name of ['cluster.tls-peer-name', 'cluster.tls-transition'] as const)
      if (flags[name] !== PROCESS_FLAGS[name].default)
        throw new AppError('bad_data', `flag --${name}: there are no certificates: ${REMEDY}`);
    if (flags['cluster.insecure']) return PLAINTEXT;
    return plaintextOnLoopback();
  }
  if (given < 3) {
    throw new AppError(
      'bad_data',
      'flags --cluster.tls-cert-file, --cluster.tls-key-file and --cluster.tls-ca-file belong together: give all three',
    );
  }
  if (flags['cluster.insecure'])
    throw new AppError(
      'bad_data',
      'flag --cluster.insecure contradicts --cluster.tls-cert-file: give one of them',
    );
  const identity = await TlsIdentity.open({ files, intervalMs: RELOAD_INTERVAL_MS }, deps);
  return createTlsSecurity({
    identity,
    refusals: new TlsRefusals(deps),
    peerName: flags['cluster.tls-peer-name'],
    transition: flags['cluster.tls-transition'] ? new TlsTransition(deps) : undefined,
  });
}

/** Mutual TLS with what is given. */
export function createTlsSecurity(tls: TlsServerSecurity): ClusterSecurity {
  const channel = createTlsChannelCredentials({ peerName: tls.peerName }, tls);
  const { transition } = tls;
  if (transition === undefined) return { tls, channelCredentials: () => channel };
  const plaintext = credentials.createInsecure();
  return {
    tls,
    channelCredentials: (address, takesTls) => {
      if (takesTls === true) return channel;
      transition.report('client', address);
      return plaintext;
    },
  };
}

/** Whether the host of `host:port` cannot be reached from other machines. */
export function isLoopback(address: string): boolean {
  const { host } = splitAddress(address);
  return host === 'localhost' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/**
 * Where the gRPC server listens. A process that accepts calls in plaintext, which nobody chose, must not be reached from other machines:
 * where no address was chosen either, it listens on loopback only.
 *
 * @param warn  Told when that is so.
 * @throws AppError `bad_data` naming the flag and the remedy, when an address was chosen that others reach.
 */
export function servingAddress(
  flags: ProcessFlags,
  security: ClusterSecurity,
  warn: (message: string) => void,
): string {
  const listenAddress = flags['grpc.listen-address'];
  if (security.tls !== undefined || flags['cluster.insecure']) return listenAddress;
  const { host, port } = splitAddress(listenAddress);
  const isEverywhere = isWildcard(host);
  const advertised = flags['grpc.advertise-address'];
  const chosen = {
    'grpc.listen-address': isEverywhere ? '' : listenAddress,
    'grpc.advertise-address': advertised,
  };
  for (const [name, address] of Object.entries(chosen)) {
    if (address === '' || isLoopback(address)) continue;
    throw new AppError(
      'bad_data',
      `flag --${name}: ${address} can be reached from other machines, and connections would not be encrypted: ${REMEDY}`,
    );
  }
  if (!isEverywhere) return listenAddress;
  warn(`listening on loopback only, for services of this machine; for others ${REMEDY}`);
  return `127.0.0.1:${port}`;
}

function plaintextOnLoopback(): ClusterSecurity {
  const plaintext = credentials.createInsecure();
  const refusing = createRefusingCredentials(
    (address) => `${address} is on another machine, and the connection would not be encrypted: ${REMEDY}`,
  );
  return { channelCredentials: (address) => (isLoopback(address) ? plaintext : refusing) };
}
