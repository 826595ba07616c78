// Ways to a NATS server, as flags say them: user and password, token, nkey, credentials file, TLS on both sides, several servers.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect as natsConnect } from '@nats-io/transport-node';
import { describe, expect, test } from 'vitest';
import {
  EXPIRY_MS,
  HEARTBEAT_MS,
  joinControlPlane,
  memberRecordOf,
  namesAt,
  natsServers,
  startNats,
} from '../../../../test/support/nats.ts';
import { makeNatsAccounts, makeNkeyUser } from '../../../../test/support/nats-accounts.ts';
import { hasPrograms } from '../../../../test/support/process.ts';
import { findProgram, freePort, waitFor } from '../../../../test/support/programs.ts';
import { freshFolder } from '../../../../test/support/tidemark.ts';
import { parseFlags } from '../../runtime/flags.ts';
import { createLogger, createSilentLogger, type Logger } from '../../runtime/logger.ts';
import type { PlacementRecord } from '../control-plane.ts';
import { PROCESS_FLAGS } from '../process-flags.ts';
import type { NatsControlPlane } from './nats-control-plane.ts';
import { natsOptionsOf } from './nats-options.ts';

const TIMES = [`--cluster.heartbeat-interval=${HEARTBEAT_MS}ms`, `--cluster.member-expiry=${EXPIRY_MS}ms`];

function connect(argv: readonly string[], instance: string, logger: Logger = createSilentLogger()) {
  const options = natsOptionsOf(parseFlags(PROCESS_FLAGS, [...TIMES, ...argv], {}).values);
  return joinControlPlane(options, instance, { logger });
}

function secretFile(content: string): string {
  const file = path.join(freshFolder(), 'secret');
  writeFileSync(file, `${content}\n`, { mode: 0o600 });
  return file;
}

const until = (what: string, claim: () => boolean, describe?: () => string) =>
  waitFor(what, () => Promise.resolve(claim()), describe === undefined ? {} : { describe });

/** A key and a certificate of its own for 127.0.0.1. */
function makeCertificate(): { readonly cert: string; readonly key: string } {
  const folder = freshFolder();
  const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
  const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost'.split(
    ' ',
  );
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  execFileSync(findProgram('openssl')!, ['req', '-x509', ...newKey, '-keyout', key, '-out', cert, ...names], {
    stdio: 'pipe',
  });
  return { cert, key };
}

interface Door {
  readonly serverFlags?: readonly string[];
  readonly serverConfig?: string;
  /** Flags of a process that is let in, and of one that is not. */
  readonly right: readonly string[];
  readonly wrong: readonly string[];
}

function passwordDoor(): Door {
  const flags = (password: string) => ['--nats.user=tm', `--nats.password-file=${secretFile(password)}`];
  return { serverFlags: ['--user', 'tm', '--pass', 'secret'], right: flags('secret'), wrong: flags('guess') };
}

function tokenDoor(): Door {
  const flag = (token: string) => [`--nats.token-file=${secretFile(token)}`];
  return { serverFlags: ['--auth', 'open-sesame'], right: flag('open-sesame'), wrong: flag('open-barley') };
}

function nkeyDoor(): Door {
  const [known, unknown] = [makeNkeyUser(), makeNkeyUser()];
  const flag = (seed: string) => [`--nats.nkey-file=${secretFile(seed)}`];
  return { serverConfig: known.config, right: flag(known.seed), wrong: flag(unknown.seed) };
}

function credentialsDoor(): Door {
  const [known, unknown] = [makeNatsAccounts(), makeNatsAccounts()];
  const flag = (credentials: string) => [`--nats.credentials-file=${secretFile(credentials)}`];
  return {
    serverConfig: known.config,
    right: flag(known.credentials),
    wrong: flag(unknown.credentials),
  };
}

const servers = natsServers();
if (servers.length === 0) test.skip('needs nats-server on the PATH');

describe.each(servers)('$name', ({ program }) => {
  test.each<[string, () => Door]>([
    ['user and password from files', passwordDoor],
    ['a token from a file', tokenDoor],
    ['an nkey from a file', nkeyDoor],
    ['a credentials file', credentialsDoor],
  ])('%s; who has the wrong one waits and says why', async (_, makeDoor) => {
    const { serverFlags = [], serverConfig, right, wrong } = makeDoor();
    const nats = await startNats({
      ...{ program, flags: serverFlags },
      ...(serverConfig === undefined ? {} : { config: serverConfig }),
    });
    const lines: string[] = [];
    const logger = createLogger({ level: 'warn', format: 'logfmt' }, { write: (line) => lines.push(line) });
    const outside = await connect([`--nats.url=${nats.url}`, ...wrong], 'outside', logger);
    const inside = await connect([`--nats.url=${nats.url}`, ...right], 'inside');
    await until('connected', () => inside.isConnected() && namesAt(inside) === 'inside', nats.output);
    await until('the reason is logged', () => /out of reach.*authorization/i.test(lines.join('')));
    expect(outside.isConnected()).toBe(false);
  });

  test.skipIf(!hasPrograms('openssl'))('TLS with certificates on both sides', async () => {
    const { cert, key } = makeCertificate();
    const flags = ['--tlsverify', '--tlscert', cert, '--tlskey', key, '--tlscacert', cert];
    const nats = await startNats({ program, flags });
    const url = `--nats.url=${nats.url.replace('nats:', 'tls:')}`;
    const own = [`--nats.tls-cert-file=${cert}`, `--nats.tls-key-file=${key}`];
    const stranger = makeCertificate();
    const plane = await connect([url, `--nats.tls-ca-file=${cert}`, ...own], 'a');
    const [unsure, nameless] = [
      // It does not know who signed the server's certificate, or it shows none of its own.
      await connect([url, `--nats.tls-ca-file=${stranger.cert}`, ...own], 'b'),
      await connect([url, `--nats.tls-ca-file=${cert}`], 'c'),
    ];
    await until('connected', () => plane.isConnected() && namesAt(plane) === 'a', nats.output);
    // Long enough for both to have tried several times.
    await until('time passes', () => plane.members()[0]!.heartbeatAgeMs >= 0);
    for (let beat = 0; beat < 5; beat++) await plane.announce(memberRecordOf('a'));
    expect([unsure.isConnected(), nameless.isConnected(), namesAt(plane)]).toEqual([false, false, 'a']);
  });

  test('three servers with three copies: the leader is killed', { timeout: 60_000 }, async () => {
    const ports = await Promise.all([0, 1, 2].map(() => freePort()));
    const routePorts = await Promise.all([0, 1, 2].map(() => freePort()));
    const routes = routePorts.map((port) => `nats://127.0.0.1:${port}`).join(', ');
    const nodes = await Promise.all(
      ports.map((port, i) => {
        const listen = `127.0.0.1:${routePorts[i]}`;
        const config = `server_name: n${i}\ncluster { name: test, listen: "${listen}", routes: [${routes}] }\n`;
        return startNats({ program, port, config });
      }),
    );
    const logs = () => nodes.map((node) => node.output().slice(-2_000)).join('\n---\n');
    const urls = nodes.map(({ url }) => url);
    const flags = [`--nats.url=${urls.join(',')}`, '--nats.replicas=3'];
    const planes = await Promise.all(['a', 'b', 'c'].map((instance) => connect(flags, instance)));
    const [a, b] = planes as [NatsControlPlane, NatsControlPlane];
    const allSeeAll = () => planes.every((plane) => plane.isConnected() && namesAt(plane) === 'a b c');
    await until('all see all', allSeeAll, logs);
    expect(await a.replacePlacement(placementOf(1))).toBe(true);
    await until('b knows', () => b.placement()?.epoch === 1);

    const leader = nodes[await leaderOf(urls)]!;
    await leader.kill();
    await waitFor('the placement changes', () => b.replacePlacement(placementOf(2)), { describe: logs });
    await until('all see all, with two servers', allSeeAll, logs);
    await until('a follows', () => a.placement()?.epoch === 2);
    await leader.restart({ emptied: true });
    await until('all see all, with three servers', allSeeAll, logs);
  });
});

/** Number of the server that leads the bucket. */
async function leaderOf(urls: readonly string[]): Promise<number> {
  const connection = await natsConnect({ servers: [...urls] });
  const { streams } = await jetstreamManager(connection);
  const { cluster } = await streams.info('KV_tidemark_tidemark');
  await connection.close();
  return Number(/^n(\d)$/.exec(cluster?.leader ?? '')?.[1]);
}

const placementOf = (epoch: number): PlacementRecord => ({
  ...{ epoch, partitionCount: 8, replicationFactor: 3, ingesters: [], former: [] },
  ...{ storeReplicationFactor: 2, stores: [] },
});
