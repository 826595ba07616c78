// From flags to the options of the NATS control plane: reads the files that hold secrets.
import { readFileSync } from 'node:fs';
import { credsAuthenticator, nkeyAuthenticator } from '@nats-io/transport-node';
import { AppError } from '../../core/errors.ts';
import type { ProcessFlags } from '../process-flags.ts';
import type { NatsControlPlaneOptions } from './nats-control-plane.ts';

/** @throws AppError `bad_data` when a file cannot be read or flags contradict each other. */
export function natsOptionsOf(flags: ProcessFlags): NatsControlPlaneOptions {
  if (flags['nats.url'].length === 0) {
    throw new AppError('bad_data', 'flag --nats.url: at least one server is needed, like nats://nats:4222');
  }
  const heartbeatMs = flags['cluster.heartbeat-interval'];
  const expiryMs = flags['cluster.member-expiry'];
  if (heartbeatMs < 10 || expiryMs < 3 * heartbeatMs) {
    throw new AppError(
      'bad_data',
      `flag --cluster.member-expiry: ${expiryMs} ms is less than three times --cluster.heartbeat-interval (${heartbeatMs} ms, at least 10)`,
    );
  }
  return {
    servers: flags['nats.url'],
    clusterName: bucketName(flags['cluster.name']),
    bucketReplicas: flags['nats.replicas'],
    heartbeatMs,
    expiryMs,
    connection: { ...credentialsOf(flags), ...tlsOf(flags) },
  };
}

function bucketName(clusterName: string): string {
  if (/^[-A-Za-z0-9_]{1,64}$/.test(clusterName)) return clusterName;
  throw new AppError(
    'bad_data',
    `flag --cluster.name: ${JSON.stringify(clusterName)} is not a name of letters, digits, - and _`,
  );
}

function credentialsOf(flags: ProcessFlags): NatsControlPlaneOptions['connection'] {
  const credentials = flags['nats.credentials-file'];
  if (credentials !== '') {
    readSecret(flags, 'nats.credentials-file');
    // Read at each connection: such files are renewed.
    return { authenticator: credsAuthenticator(() => readFileSync(credentials)) };
  }
  if (flags['nats.nkey-file'] !== '') {
    return { authenticator: nkeyAuthenticator(Buffer.from(readSecret(flags, 'nats.nkey-file'))) };
  }
  if (flags['nats.token-file'] !== '') return { token: readSecret(flags, 'nats.token-file') };
  const user = flags['nats.user-file'] === '' ? flags['nats.user'] : readSecret(flags, 'nats.user-file');
  if (user === '') return {};
  return { user, pass: flags['nats.password-file'] === '' ? '' : readSecret(flags, 'nats.password-file') };
}

function tlsOf(flags: ProcessFlags): NatsControlPlaneOptions['connection'] {
  const caFile = flags['nats.tls-ca-file'];
  const certFile = flags['nats.tls-cert-file'];
  const keyFile = flags['nats.tls-key-file'];
  if ((certFile === '') !== (keyFile === '')) {
    throw new AppError('bad_data', 'flags --nats.tls-cert-file and --nats.tls-key-file belong together');
  }
  if (caFile === '' && certFile === '') return {};
  return {
    tls: { ...(caFile === '' ? {} : { caFile }), ...(certFile === '' ? {} : { certFile, keyFile }) },
  };
}

function readSecret(
  flags: ProcessFlags,
  name: `nats.${'user' | 'password' | 'token' | 'nkey' | 'credentials'}-file`,
): string {
  try {
    return readFileSync(flags[name], 'utf8').trim();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new AppError('bad_data', `flag --${name}: ${reason}`, { cause });
  }
}
