// The flags of every service process of a cluster: where it listens, how others reach it, who it is, and where NATS is.
import { hostname, networkInterfaces } from 'node:os';
import { AppError } from '../core/errors.ts';
import { CLUSTER_NAME_FLAGS, LOG_FLAGS, PARTITION_FLAGS } from '../runtime/flag-groups.ts';
import type { FlagTable, FlagValues } from '../runtime/flags.ts';

export const PROCESS_FLAGS = {
  'web.listen-address': {
    type: 'string',
    default: '0.0.0.0:9090',
    desc: 'Address of /-/healthy, /-/ready and /metrics.',
  },
  'grpc.listen-address': {
    type: 'string',
    default: '0.0.0.0:9095',
    desc: 'Address at which other services call this one.',
  },
  'grpc.advertise-address': {
    type: 'string',
    default: '',
    desc: 'host:port at which others reach grpc.listen-address. Default: its host, or the first address of this machine.',
  },
  ...CLUSTER_NAME_FLAGS,
  'cluster.zone': {
    type: 'string',
    default: '',
    desc: 'Failure domain of this process: copies go to different zones.',
  },
  'cluster.instance': {
    type: 'string',
    default: '',
    desc: 'Name of this process, unique among its service. Default: the host name.',
  },
  'cluster.heartbeat-interval': {
    type: 'duration',
    default: 1_000,
    desc: 'Between two signs of life; the same in all processes.',
  },
  'cluster.member-expiry': {
    type: 'duration',
    default: 8_000,
    desc: 'A process not heard of for so long is gone; the same in all processes.',
  },
  'cluster.tls-cert-file': {
    type: 'string',
    default: '',
    desc: 'Certificate (PEM) that this process shows to other services; they verify each other. Read again when it changes.',
  },
  'cluster.tls-key-file': { type: 'string', default: '', desc: 'Key of cluster.tls-cert-file.' },
  'cluster.tls-ca-file': {
    type: 'string',
    default: '',
    desc: 'Certificates of the authorities that those of other services may come from.',
  },
  'cluster.tls-peer-name': {
    type: 'string',
    default: '',
    desc: 'DNS name that the certificate of every service must have. Default: the host that is called; any name of callers.',
  },
  'cluster.tls-transition': {
    type: 'boolean',
    default: false,
    desc: 'While a running cluster changes from plaintext to TLS, beside the three files: accepts connections in plaintext as well, and calls those in plaintext that take no TLS yet. Restart all services with it, then all without.',
  },
  'cluster.insecure': {
    type: 'boolean',
    default: false,
    desc: 'Services call each other in plaintext, also over a network. Without it and without certificates: on loopback only.',
  },
  'nats.url': {
    type: 'list',
    default: ['nats://127.0.0.1:4222'],
    desc: 'NATS servers, comma-separated; one that answers is enough.',
  },
  'nats.replicas': {
    type: 'number',
    default: 1,
    min: 1,
    max: 5,
    desc: 'Copies of the control data in NATS: 3 with three servers or more.',
  },
  'nats.user': { type: 'string', default: '', desc: 'User name for NATS.' },
  'nats.user-file': { type: 'string', default: '', desc: 'File with the user name for NATS.' },
  'nats.password-file': { type: 'string', default: '', desc: 'File with the password for NATS.' },
  'nats.token-file': { type: 'string', default: '', desc: 'File with the token for NATS.' },
  'nats.credentials-file': {
    type: 'string',
    default: '',
    desc: 'Credentials file (JWT and seed) for NATS.',
  },
  'nats.nkey-file': { type: 'string', default: '', desc: 'File with the nkey seed of a user of NATS.' },
  'nats.tls-ca-file': { type: 'string', default: '', desc: 'Certificates of authorities that NATS may use.' },
  'nats.tls-cert-file': { type: 'string', default: '', desc: 'Certificate that this process shows to NATS.' },
  'nats.tls-key-file': { type: 'string', default: '', desc: 'Key of nats.tls-cert-file.' },
  ...LOG_FLAGS,
} as const satisfies FlagTable;

/** What the whole cluster agrees on. Ingesters write it into the placement record; the others learn it from there. */
export const PLACEMENT_FLAGS = {
  ...PARTITION_FLAGS,
  'cluster.replication-factor': {
    type: 'number',
    default: 3,
    min: 1,
    max: 9,
    desc: 'Ingesters that have a copy of each sample. A write waits for the majority of them.',
  },
  'cluster.absence': {
    type: 'duration',
    default: 600_000,
    desc: 'An ingester that is gone keeps its partitions for so long, since a restart must not move data.',
  },
  'store.replication-factor': {
    type: 'number',
    default: 2,
    min: 1,
    max: 9,
    desc: 'Stores that have a copy of each sealed block.',
  },
} as const satisfies FlagTable;

export type ProcessFlags = FlagValues<typeof PROCESS_FLAGS>;

/** `host:port`, the last colon counting; brackets around an IPv6 host stay. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(':');
  const portText = address.slice(colon + 1);
  const port = Number(portText);
  if (colon < 0 || !/^\d{1,5}$/.test(portText) || port > 65_535) {
    throw new AppError('bad_data', `flag --…address: ${JSON.stringify(address)} is not host:port`);
  }
  return { host: address.slice(0, colon), port };
}

/** The address that others use for a server that listens at `listenAddress` and was bound to `port`. */
export function advertisedAddress(listenAddress: string, port: number): string {
  const { host } = splitAddress(listenAddress);
  return `${isWildcard(host) ? firstOwnAddress() : host}:${port}`;
}

/** Whether a server that listens at that host listens at all addresses of the machine. */
export function isWildcard(host: string): boolean {
  return host === '' || host === '0.0.0.0' || host === '[::]';
}

/**
 * Name of this process in the cluster. It stands in NATS keys, so its characters are limited.
 *
 * @throws AppError `bad_data`.
 */
export function instanceOf(flags: ProcessFlags): string {
  const instance = flags['cluster.instance'] || hostname();
  if (!/^[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}$/.test(instance) || instance.endsWith('.')) {
    throw new AppError(
      'bad_data',
      `flag --cluster.instance: ${JSON.stringify(instance)} is not a name of letters, digits, - _ and .`,
    );
  }
  return instance;
}

function firstOwnAddress(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { family, internal, address } of addresses ?? []) {
      if (family === 'IPv4' && !internal) return address;
    }
  }
  return '127.0.0.1';
}
