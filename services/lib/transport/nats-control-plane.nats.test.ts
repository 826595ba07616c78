// The control plane on a real nats-server: members, placement, leases; NATS killed, restarted, and emptied.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { hasPrograms, type RunningProcess, startProcess } from '../../../test/support/process.ts';
import { findProgram, freePort, waitFor } from '../../../test/support/programs.ts';
import { systemClock } from '../core/clock.ts';
import { parseFlags } from '../runtime/flags.ts';
import { createLogger, createSilentLogger } from '../runtime/logger.ts';
import type { MemberRecord, PlacementRecord } from './control-plane.ts';
import { NatsControlPlane, type NatsControlPlaneOptions } from './nats-control-plane.ts';
import { natsOptionsOf } from './nats-options.ts';
import { PROCESS_FLAGS } from './process-flags.ts';

const HEARTBEAT_MS = 100;
const EXPIRY_MS = 1000;
const present = hasPrograms('nats-server');

interface Nats {
  readonly url: string;
  kill(): Promise<void>;
  restart(options: { readonly emptied: boolean }): Promise<void>;
}

async function startNats(...flags: readonly string[]): Promise<Nats> {
  const port = await freePort();
  const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-nats-'));
  const run = () =>
    startProcess(findProgram('nats-server')!, [
      '-a',
      '127.0.0.1',
      '-p',
      String(port),
      '-js',
      '-sd',
      folder,
      ...flags,
    ]);
  let server: RunningProcess = run();
  return {
    url: `nats://127.0.0.1:${port}`,
    kill: () => server.end('SIGKILL'),
    restart: async ({ emptied }) => {
      await server.end('SIGKILL');
      if (emptied) rmSync(folder, { recursive: true, force: true });
      server = run();
    },
  };
}

const optionsOf = (nats: Nats): NatsControlPlaneOptions => ({
  ...{ servers: [nats.url], clusterName: 'test', bucketReplicas: 1, connection: {} },
  ...{ heartbeatMs: HEARTBEAT_MS, expiryMs: EXPIRY_MS },
});

async function join(nats: Nats, instance: string): Promise<NatsControlPlane> {
  const plane = new NatsControlPlane(optionsOf(nats), { clock: systemClock, logger: createSilentLogger() });
  onTestFinished(() => plane.stop());
  await plane.start();
  await plane.announce(recordOf(instance));
  return plane;
}

const recordOf = (instance: string): MemberRecord => ({
  ...{ service: 'ingester', instance, zone: 'z', version: '1', grpcAddress: '', httpAddress: '' },
  ...{ startedAtMs: 0, state: 'ready' },
});

const names = (plane: NatsControlPlane): string =>
  plane
    .members()
    .map((member) => member.instance)
    .join(' ');

const until = (what: string, claim: () => boolean) => waitFor(what, () => Promise.resolve(claim()));

const placementOf = (epoch: number): PlacementRecord => ({
  ...{ epoch, partitionCount: 8, replicationFactor: 3, ingesters: [], former: [] },
  ...{ storeReplicationFactor: 2, stores: [] },
});

test.skipIf(!present)('members see one another and leave at once', async () => {
  const nats = await startNats();
  const [a, b, c] = await Promise.all([join(nats, 'a'), join(nats, 'b'), join(nats, 'c')]);
  for (const plane of [a, b, c]) await until('three members', () => names(plane) === 'a b c');
  await b.announce({ ...recordOf('b'), state: 'draining' });
  await until('b drains', () => a.members()[1]?.state === 'draining');
  await b.stop();
  await until('b has left', () => names(a) === 'a c');
  await c.stop();
  await until('c has left', () => names(a) === 'a');
});

test.skipIf(!present)('a process that is killed expires', async () => {
  const nats = await startNats();
  const a = await join(nats, 'a');
  const script = `
    import { NatsControlPlane } from ${JSON.stringify(import.meta.resolve('./nats-control-plane.ts'))};
    import { systemClock } from ${JSON.stringify(import.meta.resolve('../core/clock.ts'))};
    import { createSilentLogger } from ${JSON.stringify(import.meta.resolve('../runtime/logger.ts'))};
    const plane = new NatsControlPlane(${JSON.stringify(optionsOf(nats))}, { clock: systemClock, logger: createSilentLogger() });
    await plane.start();
    await plane.announce(${JSON.stringify(recordOf('b'))});`;
  const other = startProcess(process.execPath, ['--input-type=module', '-e', script]);
  await waitFor('b joins', () => Promise.resolve(names(a) === 'a b'), { describe: () => other.output() });
  await other.end('SIGKILL');
  const killedAtMs = performance.now();
  await until('b expires', () => names(a) === 'a');
  expect(performance.now() - killedAtMs).toBeGreaterThan(EXPIRY_MS / 2);
});

test.skipIf(!present)('the placement is replaced by compare-and-set', async () => {
  const nats = await startNats();
  const [a, b] = await Promise.all([join(nats, 'a'), join(nats, 'b')]);
  await until('connected', () => a.isConnected() && b.isConnected());
  expect(await a.replacePlacement(placementOf(1))).toBe(true);
  await until('b knows', () => b.placement()?.epoch === 1);
  const results = await Promise.all([a.replacePlacement(placementOf(2)), b.replacePlacement(placementOf(2))]);
  expect(results.filter(Boolean)).toHaveLength(1);
});

test.skipIf(!present)(
  'a lease has one holder, and moves when its holder is gone, with a greater token',
  async () => {
    const nats = await startNats();
    const [a, b] = await Promise.all([join(nats, 'a'), join(nats, 'b')]);
    await until('connected', () => a.isConnected() && b.isConnected());
    const both = await Promise.all([a.tryAcquire('seal'), b.tryAcquire('seal')]);
    expect(both.filter((lease) => lease !== undefined)).toHaveLength(1);
    const [holder, other, lease] = both[0] === undefined ? [b, a, both[1]!] : [a, b, both[0]];
    await sleep(2 * EXPIRY_MS);
    expect(lease.isHeld()).toBe(true);
    expect(await other.tryAcquire('seal')).toBeUndefined();
    await holder.stop();
    const next = await waitFor('the lease moves', () => other.tryAcquire('seal'));
    expect(next.token).toBeGreaterThan(lease.token);
    expect(lease.isHeld()).toBe(false);
  },
);

test.skipIf(!present).each([false, true])('NATS dies and comes back, emptied: %s', async (emptied) => {
  const nats = await startNats();
  const [a, b] = await Promise.all([join(nats, 'a'), join(nats, 'b')]);
  await until('connected', () => names(a) === 'a b' && names(b) === 'a b');
  expect(await a.replacePlacement(placementOf(7))).toBe(true);
  await until('b knows', () => b.placement()?.epoch === 7);
  await nats.kill();
  await sleep(2 * EXPIRY_MS);
  expect([names(a), names(b), a.placement()?.epoch]).toEqual(['a b', 'a b', 7]);
  expect([a.isConnected(), b.isConnected()]).toEqual([false, false]);
  await nats.restart({ emptied });
  await until('connected again', () => a.isConnected() && b.isConnected());
  await until('both see both', () => names(a) === 'a b' && names(b) === 'a b');
  const late = await join(nats, 'c');
  await until('the placement is there again', () => late.placement()?.epoch === 7);
  await waitFor('the placement changes', () => b.replacePlacement(placementOf(8)));
  await until('a follows', () => a.placement()?.epoch === 8);
  await until('all three', () => names(a) === 'a b c' && names(late) === 'a b c');
  await until('c follows', () => late.placement()?.epoch === 8);
});

test.skipIf(!present)('user and password from files; who has the wrong one waits and says why', async () => {
  const nats = await startNats('--user', 'tm', '--pass', 'secret');
  const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-nats-'));
  const connect = async (password: string, logger = createSilentLogger()): Promise<NatsControlPlane> => {
    writeFileSync(path.join(folder, password), `${password}\n`);
    const argv = [
      ...[`--nats.url=${nats.url}`, '--nats.user=tm', `--nats.password-file=${path.join(folder, password)}`],
      ...[`--cluster.heartbeat-interval=${HEARTBEAT_MS}ms`, `--cluster.member-expiry=${EXPIRY_MS}ms`],
    ];
    const options = natsOptionsOf(parseFlags(PROCESS_FLAGS, argv, {}).values);
    const plane = new NatsControlPlane(options, { clock: systemClock, logger });
    onTestFinished(() => plane.stop());
    await plane.start();
    await plane.announce(recordOf(password));
    return plane;
  };
  const lines: string[] = [];
  const logger = createLogger({ level: 'warn', format: 'logfmt' }, { write: (line) => lines.push(line) });
  const wrong = await connect('guess', logger);
  const right = await connect('secret');
  await until('connected', () => right.isConnected() && names(right) === 'secret');
  await until('the reason is logged', () => /out of reach.*authorization/i.test(lines.join('')));
  expect(wrong.isConnected()).toBe(false);
});

test.skipIf(!(present && hasPrograms('openssl')))('TLS with certificates on both sides', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-tls-'));
  const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
  execFileSync(
    findProgram('openssl')!,
    [
      ...[
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '1',
      ],
      ...['-keyout', key, '-out', cert, '-subj', '/CN=localhost'],
      ...['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
    ],
    { stdio: 'pipe' },
  );
  const nats = await startNats('--tlsverify', '--tlscert', cert, '--tlskey', key, '--tlscacert', cert);
  const argv = [
    ...[`--nats.url=${nats.url.replace('nats:', 'tls:')}`, `--nats.tls-ca-file=${cert}`],
    ...[`--nats.tls-cert-file=${cert}`, `--nats.tls-key-file=${key}`],
    ...[`--cluster.heartbeat-interval=${HEARTBEAT_MS}ms`, `--cluster.member-expiry=${EXPIRY_MS}ms`],
  ];
  const options = natsOptionsOf(parseFlags(PROCESS_FLAGS, argv, {}).values);
  const plane = new NatsControlPlane(options, { clock: systemClock, logger: createSilentLogger() });
  onTestFinished(() => plane.stop());
  await plane.start();
  await plane.announce(recordOf('a'));
  await until('connected', () => plane.isConnected() && names(plane) === 'a');
});
