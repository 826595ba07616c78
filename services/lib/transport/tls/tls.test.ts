// Mutual TLS between services, over real connections and certificates: who is let in, who is not and what the log then says, and that
// certificates are replaced under load without a failed call.
import { appendFileSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { connect as connectSocket, createServer } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  type CertificateRequest,
  createCertificateAuthority,
  replaceCertificate,
  type ServiceCertificate,
} from '../../../../test/support/certificate-authority.ts';
import { hasPrograms } from '../../../../test/support/process.ts';
import { freePort, waitFor } from '../../../../test/support/programs.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { parseFlags } from '../../runtime/flags.ts';
import { createLogger, createSilentLogger } from '../../runtime/logger.ts';
import {
  AppendOutcome,
  type AppendRequest,
  type AppendResponse,
  IngesterDefinition,
} from '../../wire/contracts.ts';
import { connectGrpc, type GrpcConnection } from '../grpc/grpc-client.ts';
import { GrpcServer } from '../grpc/grpc-server.ts';
import { advertisedAddress, PROCESS_FLAGS, splitAddress } from '../process-flags.ts';
import type { CallContext, Handlers } from '../rpc.ts';
import {
  type ClusterSecurity,
  createTlsSecurity,
  isLoopback,
  openClusterSecurity,
  PLAINTEXT,
  servingAddress,
} from './cluster-security.ts';
import { TlsIdentity } from './tls-identity.ts';
import { TlsRefusals } from './tls-refusals.ts';
import { TlsTransition } from './tls-transition.ts';

const canRun = hasPrograms('openssl');
const never = (): CallContext => ({ signal: new AbortController().signal });
type IngesterHandlers = Handlers<typeof IngesterDefinition>;

interface Party {
  readonly security: ClusterSecurity;
  readonly identity: TlsIdentity;
  readonly registry: Registry;
  readonly log: () => string;
}

interface PartyOptions {
  readonly peerName?: string;
  /** It changes from plaintext to TLS. */
  readonly isInTransition?: boolean;
  /** A clock by which a certificate that has ended has not. */
  readonly clock?: Clock;
}

async function partyWith(files: ServiceCertificate, options: PartyOptions = {}): Promise<Party> {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', format: 'logfmt' }, { write: (line) => lines.push(line) });
  const registry = new Registry();
  const deps = { clock: options.clock ?? systemClock, logger, registry };
  const identity = await TlsIdentity.open({ files, intervalMs: 20 }, deps);
  onTestFinished(() => identity.stop());
  const refusals = new TlsRefusals(deps);
  const transition = options.isInTransition === true ? new TlsTransition(deps) : undefined;
  const security = createTlsSecurity({ identity, refusals, peerName: options.peerName ?? '', transition });
  return { security, identity, registry, log: () => lines.join('') };
}

/** A server that answers labels and append streams; resolves to its address. */
async function serve(security: ClusterSecurity): Promise<string> {
  const server = new GrpcServer(
    { listenAddress: '127.0.0.1:0', concurrentStreamsMax: 1_000 },
    { logger: createSilentLogger(), tls: security.tls },
  );
  const handlers: Partial<IngesterHandlers> = {
    labels: async ({ labelName }) => ({ values: [labelName], truncated: false }),
    append: echo,
  };
  server.add(IngesterDefinition, handlers as IngesterHandlers);
  const port = await server.start();
  onTestFinished(() => server.stop(500));
  return `127.0.0.1:${port}`;
}

async function* echo(requests: AsyncIterable<AppendRequest>): AsyncGenerator<AppendResponse> {
  for await (const { sequence } of requests) {
    yield { sequence, outcome: AppendOutcome.APPEND_OUTCOME_DURABLE, failedPartitions: [], message: '' };
  }
}

function dial(
  address: string,
  security: ClusterSecurity,
  takesTls?: boolean,
): GrpcConnection<typeof IngesterDefinition> {
  const connection = connectGrpc(
    IngesterDefinition,
    { address, takesTls, unaryTimeoutMs: 20_000 },
    undefined,
    security,
  );
  onTestFinished(() => connection.close());
  return connection;
}

const ask = ({ client }: GrpcConnection<typeof IngesterDefinition>, labelName = 'job') =>
  client.labels({ tenant: 't', matchers: [], minTimeMs: 0, maxTimeMs: 0, labelName, limit: 1 }, never());

/** A clock that stands on the day before yesterday: to it, a certificate that ended yesterday has not. */
const slowClock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() - 3 * 86_400_000 };

/** Refused connections of a process, as `side/reason`. */
async function refusalsOf(party: Party): Promise<string[]> {
  const metric = await party.registry.getSingleMetric('tidemark_tls_refused_connections_total')!.get();
  return metric.values.map(({ labels }) => `${labels.side}/${labels.reason}`);
}

const flagsOf = (...argv: string[]) => parseFlags(PROCESS_FLAGS, argv, {}).values;
const tlsFlags = ({ cert, key, ca }: ServiceCertificate): string[] => [
  ...[`--cluster.tls-cert-file=${cert}`, `--cluster.tls-key-file=${key}`, `--cluster.tls-ca-file=${ca}`],
];

describe.skipIf(!canRun)('S1: who is let in', () => {
  test('services with certificates of one authority, by the address that is called or by an agreed name', async () => {
    const authority = createCertificateAuthority();
    const [a, b] = [await partyWith(authority.issue()), await partyWith(authority.issue())];
    expect(await ask(dial(await serve(a.security), b.security))).toMatchObject({ values: ['job'] });
    // In a cluster of pods no certificate can name addresses.
    const files = (): ServiceCertificate => authority.issue({ names: ['DNS:tidemark.cluster'] });
    const [c, d] = [
      await partyWith(files(), { peerName: 'tidemark.cluster' }),
      await partyWith(files(), { peerName: 'tidemark.cluster' }),
    ];
    expect(await ask(dial(await serve(c.security), d.security))).toMatchObject({ values: ['job'] });
  });

  interface Stranger {
    readonly why: string;
    readonly authority: 'same' | 'other';
    readonly certificate?: CertificateRequest;
    readonly clock?: Clock;
    /** Whether the client, which judges first, must not notice. */
    readonly trustsServer: boolean;
    readonly reason: string;
    readonly remedy: RegExp;
  }
  const strangers: Stranger[] = [
    {
      why: 'a certificate of another authority',
      ...{ authority: 'other', trustsServer: true },
      reason: 'server/untrusted',
      remedy: /refused a connection from.*peer=127\.0\.0\.1.*no authority in --cluster\.tls-ca-file/,
    },
    {
      why: 'a certificate that has ended',
      ...{ authority: 'same', trustsServer: true, certificate: { days: -1 }, clock: slowClock },
      reason: 'server/expired',
      remedy: /peer=127\.0\.0\.1.*has ended.*renew it/,
    },
    {
      why: 'a certificate with another name',
      ...{ authority: 'same', trustsServer: true, certificate: { names: ['DNS:elsewhere'] } },
      reason: 'server/wrong_name',
      remedy: /peer=127\.0\.0\.1.*--cluster\.tls-peer-name/,
    },
  ];

  test.each(strangers)('$why is refused by the server, which says why', async (stranger) => {
    const authority = createCertificateAuthority();
    const server = await partyWith(authority.issue(), { peerName: 'tidemark' });
    const issuer = stranger.authority === 'same' ? authority : createCertificateAuthority();
    const files = issuer.issue(stranger.certificate);
    copyFileSync(authority.caFile, files.ca);
    const client = await partyWith(files, stranger.clock === undefined ? {} : { clock: stranger.clock });
    const connection = dial(await serve(server.security), client.security);
    await expect(ask(connection)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('log says whether it refused the certificate of this process'),
    });
    expect(connection.isConnected()).toBe(false);
    await waitFor('the refusal is logged', async () => stranger.remedy.test(server.log()), {
      describe: server.log,
    });
    expect(await refusalsOf(server)).toEqual([stranger.reason]);
  });

  test('who shows no certificate, or speaks plaintext, is refused by the server, which says why', async () => {
    const authority = createCertificateAuthority();
    const server = await partyWith(authority.issue());
    const address = await serve(server.security);
    const { host, port } = splitAddress(address);
    const anonymous = connectTls({
      host,
      port: Number(port),
      ca: readFileSync(authority.caFile),
      ALPNProtocols: ['h2'],
    });
    await new Promise((resolve) => anonymous.once('close', resolve).on('error', resolve));
    await expect(ask(dial(address, PLAINTEXT))).rejects.toMatchObject({ code: 'unavailable' });
    await waitFor(
      'both are logged',
      async () =>
        /peer=127.*shows no certificate/.test(server.log()) &&
        /peer=127.*does not speak TLS/.test(server.log()),
      {
        describe: server.log,
      },
    );
    expect((await refusalsOf(server)).toSorted()).toEqual(['server/no_certificate', 'server/plaintext']);
  });

  test.each<[string, CertificateRequest, string, RegExp]>([
    ['whose certificate has ended', { days: -1 }, 'client/expired', /has ended/],
    ['with another name', { names: ['DNS:elsewhere'] }, 'client/wrong_name', /--cluster\.tls-peer-name/],
    ['with another address', { names: ['IP:127.0.0.2'] }, 'client/wrong_name', /the address that is called/],
  ])('a server %s is refused by the client, whose calls say why', async (_, certificate, reason, remedy) => {
    const authority = createCertificateAuthority();
    const server = await partyWith(authority.issue(certificate), { clock: slowClock });
    const client = await partyWith(authority.issue());
    const address = await serve(server.security);
    await expect(ask(dial(address, client.security))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(remedy),
    });
    expect(await refusalsOf(client)).toEqual([reason]);
    expect(client.log()).toContain(`peer=${address}`);
  });

  test('a server of another authority, and one in plaintext, are refused by the client', async () => {
    const client = await partyWith(createCertificateAuthority().issue());
    const other = await partyWith(createCertificateAuthority().issue());
    await expect(ask(dial(await serve(other.security), client.security))).rejects.toThrow(/tls-ca-file/);
    await expect(ask(dial(await serve(PLAINTEXT), client.security))).rejects.toThrow(/does not speak TLS/);
    expect((await refusalsOf(client)).toSorted()).toEqual(['client/plaintext', 'client/untrusted']);
  });

  test('a peer that tries again and again takes one line of the log, and each attempt counts', async () => {
    const server = await partyWith(createCertificateAuthority().issue());
    const address = await serve(server.security);
    for (let i = 0; i < 5; i++) await expect(ask(dial(address, PLAINTEXT))).rejects.toThrow();
    const counted = async () =>
      (await server.registry.getSingleMetric('tidemark_tls_refused_connections_total')!.get()).values[0]
        ?.value;
    await waitFor('all are counted', async () => (await counted())! >= 5);
    expect(server.log().match(/refused a connection/g)).toHaveLength(1);
  });
});

describe.skipIf(!canRun)('S1: certificates are replaced', () => {
  test('under load no call fails and no stream ends, also to another authority', {
    timeout: 60_000,
  }, async () => {
    const [before, after] = [createCertificateAuthority('before'), createCertificateAuthority('after')];
    const files = [before.issue(), before.issue()];
    const [server, client] = [await partyWith(files[0]!), await partyWith(files[1]!)];
    for (const { identity } of [server, client]) identity.start();
    const address = await serve(server.security);

    const over = new AbortController();
    const standing = dial(address, client.security);
    let [asked, streamed] = [0, 0];
    const stream = (async () => {
      const requests = async function* (): AsyncGenerator<AppendRequest> {
        for (let sequence = 1; !over.signal.aborted; sequence++) {
          yield { tenant: 't', writerId: 'w', sequence, epoch: 1, batch: new Uint8Array(64), metadata: [] };
          await systemClock.sleep(2);
        }
      };
      for await (const _ of standing.client.append(requests(), never())) streamed++;
    })();
    // Each call over a connection of its own, so that every moment of the change has handshakes.
    const load = Array.from({ length: 3 }, async () => {
      while (!over.signal.aborted) {
        const connection = connectGrpc(
          IngesterDefinition,
          { address, unaryTimeoutMs: 20_000 },
          undefined,
          fresh(client),
        );
        await ask(connection);
        connection.close();
        asked++;
      }
    });
    const failed = Promise.all([...load, stream]);
    failed.catch(() => undefined);

    const steps = 4;
    for (let step = 1; step <= steps; step++) {
      // First both trust both authorities, then they change their certificates, then the old authority goes.
      for (const [i, party] of [server, client].entries()) {
        if (step === 1) appendFileSync(files[i]!.ca, readFileSync(after.caFile));
        else if (step === 2) replaceCertificate({ ...files[i]! }, { ...after.issue(), ca: files[i]!.ca });
        else if (step === 3) copyFileSync(after.caFile, files[i]!.ca);
        else replaceCertificate(files[i]!, after.issue());
        await waitFor(
          `step ${step} is in use`,
          async () => party.log().split('new certificates are in use').length > step,
          {
            describe: party.log,
          },
        );
      }
      const [askedSoFar, streamedSoFar] = [asked, streamed];
      await waitFor(
        'calls and stream go on',
        async () => asked > askedSoFar + 3 && streamed > streamedSoFar + 3,
      );
    }
    over.abort();
    await failed;
    expect(server.identity.material.cert).not.toBe(client.identity.material.cert);
    expect(await refusalsOf(server)).toEqual([]);
    expect(await refusalsOf(client)).toEqual([]);
    // What was signed by the authority that went is refused now.
    const late = await partyWith(before.issue());
    await expect(ask(dial(address, late.security))).rejects.toThrow(/tls-ca-file/);
    expect(await reloadsOf(server)).toEqual({ loaded: expect.any(Number), refused: 0 });
  });

  test.each<
    [
      string,
      (inUse: ServiceCertificate, authority: ReturnType<typeof createCertificateAuthority>) => void,
      RegExp,
    ]
  >([
    [
      'half a set',
      (inUse, authority) => copyFileSync(authority.issue().key, inUse.key),
      /no key of the certificate/,
    ],
    ['no certificate', (inUse) => writeFileSync(inUse.cert, 'nonsense'), /there is no certificate in it/],
    [
      'one that has ended',
      (inUse, authority) => replaceCertificate(inUse, authority.issue({ days: -1 })),
      /ended at 20/,
    ],
  ])('%s leaves the ones before in use, and says so once', async (_, damage, reason) => {
    const authority = createCertificateAuthority();
    const files = authority.issue();
    const [server, client] = [await partyWith(files), await partyWith(authority.issue())];
    const { material } = server.identity;
    const address = await serve(server.security);
    damage(files, authority);
    await server.identity.reload();
    await server.identity.reload();
    expect(server.identity.material).toBe(material);
    expect(server.log().match(/cannot be used/g)).toHaveLength(1);
    expect(server.log()).toMatch(reason);
    expect(await gaugeOf(server, 'tidemark_tls_last_reload_successful')).toBe(0);
    expect(await reloadsOf(server)).toEqual({ loaded: 0, refused: 1 });
    expect(await ask(dial(address, client.security))).toMatchObject({ values: ['job'] });
    replaceCertificate(files, authority.issue());
    await server.identity.reload();
    expect(await gaugeOf(server, 'tidemark_tls_last_reload_successful')).toBe(1);
    expect(await reloadsOf(server)).toEqual({ loaded: 1, refused: 1 });
  });

  test('the metric says when the certificates end', async () => {
    const authority = createCertificateAuthority();
    const party = await partyWith(authority.issue({ days: 2 }));
    const metric = party.registry.getSingleMetric('tidemark_tls_certificate_expiry_timestamp_seconds')!;
    const { values } = await metric.get();
    const inDays = values.map(({ labels, value }) => [
      labels.certificate,
      Math.round((value - Date.now() / 1_000) / 86_400),
    ]);
    expect(inDays).toEqual([
      ['own', 2],
      ['authority', 30],
    ]);
    // Two days are less than a renewal would leave.
    await party.identity.reload();
    expect(party.log()).toMatch(/ends soon and was not renewed/);
  });
});

/** The same identity for a channel that shares no connection with others. */
function fresh({ identity, security }: Party): ClusterSecurity {
  return createTlsSecurity({ identity, refusals: security.tls!.refusals, peerName: security.tls!.peerName });
}

describe.skipIf(!canRun)('while a cluster changes from plaintext to TLS', () => {
  /** Connections in plaintext, as a server and as a client. */
  const plainOf = async ({ registry }: Party): Promise<(number | undefined)[]> => {
    const { values } = await registry.getSingleMetric('tidemark_tls_plaintext_connections_total')!.get();
    return ['server', 'client'].map((side) => values.find(({ labels }) => labels.side === side)?.value);
  };

  test('those of before, those in between and those after reach each other, encrypted wherever both can', async () => {
    const authority = createCertificateAuthority();
    const between = await partyWith(authority.issue(), { isInTransition: true });
    const after = await partyWith(authority.issue());
    const [old, changing, changed] = [
      await serve(PLAINTEXT),
      await serve(between.security),
      await serve(after.security),
    ];
    const isAnswered = (address: string, security: ClusterSecurity, takesTls: boolean) =>
      expect(ask(dial(address, security, takesTls))).resolves.toMatchObject({ values: ['job'] });
    await isAnswered(changing, after.security, true);
    await isAnswered(changed, between.security, true);
    await isAnswered(changing, between.security, true);
    expect(await plainOf(between)).toEqual([0, 0]);
    await isAnswered(old, between.security, false);
    expect(await plainOf(between)).toEqual([0, 1]);
    await isAnswered(changing, PLAINTEXT, true);
    expect(await plainOf(between)).toEqual([1, 1]);
    expect(await gaugeOf(between, 'tidemark_tls_transition')).toBe(1);
    expect(between.log()).toMatch(
      /level=warn .*plaintext are accepted as well.*without --cluster\.tls-transition/,
    );
    // What others say of a peer counts for nobody who has left plaintext behind.
    await expect(ask(dial(old, after.security, false))).rejects.toMatchObject({ code: 'unavailable' });
    await expect(ask(dial(changed, PLAINTEXT))).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('streams of any length go through in plaintext, and who shows a bad certificate is refused as ever', async () => {
    const authority = createCertificateAuthority();
    const server = await partyWith(authority.issue(), { isInTransition: true });
    const address = await serve(server.security);
    const { client } = dial(address, PLAINTEXT);
    const requests = (async function* (): AsyncGenerator<AppendRequest> {
      const batch = Buffer.alloc(16 << 10, 7);
      for (let sequence = 1; sequence <= 200; sequence++)
        yield { tenant: 't', writerId: 'w', sequence, epoch: 1, batch, metadata: [] };
    })();
    let answers = 0;
    for await (const { sequence } of client.append(requests, never())) expect(sequence).toBe(++answers);
    expect(answers).toBe(200);
    const files = createCertificateAuthority().issue();
    copyFileSync(authority.caFile, files.ca);
    const stranger = await partyWith(files, { isInTransition: true });
    await expect(ask(dial(address, stranger.security, true))).rejects.toMatchObject({ code: 'unavailable' });
    expect(await refusalsOf(server)).toEqual(['server/untrusted']);
  });

  test('who says nothing is not waited for when the server stops', async () => {
    const server = await partyWith(createCertificateAuthority().issue(), { isInTransition: true });
    const { host, port } = splitAddress(await serve(server.security));
    const silent = connectSocket({ host, port: Number(port) });
    onTestFinished(() => void silent.destroy());
    await new Promise((resolve) => silent.once('connect', resolve));
    expect(await plainOf(server)).toEqual([0, 0]);
    silent.end();
    await new Promise((resolve) => silent.once('close', resolve));
    expect(await plainOf(server)).toEqual([0, 0]);
  });
});

async function gaugeOf(party: Party, name: string): Promise<number | undefined> {
  return (await party.registry.getSingleMetric(name)!.get()).values[0]?.value;
}

async function reloadsOf(party: Party): Promise<Record<string, number>> {
  const { values } = await party.registry.getSingleMetric('tidemark_tls_reloads_total')!.get();
  return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]));
}

describe('flags', () => {
  const deps = () => ({ clock: systemClock, logger: createSilentLogger(), registry: new Registry() });

  test.each<[string[], string]>([
    [['--cluster.tls-cert-file=x'], 'belong together'],
    [['--cluster.tls-peer-name=x'], 'there are no certificates'],
    [['--cluster.tls-transition'], 'flag --cluster.tls-transition: there are no certificates'],
    [
      tlsFlags({ cert: '/nowhere', key: '/nowhere', ca: '/nowhere' }),
      'flag --cluster.tls-cert-file: /nowhere: ENOENT',
    ],
    [
      [...tlsFlags({ cert: 'c', key: 'k', ca: 'a' }), '--cluster.insecure'],
      'flag --cluster.insecure contradicts',
    ],
  ])('%j is refused', async (argv, message) => {
    await expect(openClusterSecurity(flagsOf(...argv), deps())).rejects.toThrow(message);
  });

  test.each<[string[], string]>([
    [['--grpc.listen-address=10.0.0.1:9095'], '10.0.0.1:9095 can be reached from other machines'],
    [['--grpc.advertise-address=node-1:9095'], 'choose plaintext with --cluster.insecure'],
    [
      ['--grpc.listen-address=127.0.0.1:9095', '--grpc.advertise-address=node-1:9095'],
      'flag --grpc.advertise-address: node-1:9095',
    ],
  ])('plaintext that others reach is refused with %j', async (argv, message) => {
    const flags = flagsOf(...argv);
    const security = await openClusterSecurity(flags, deps());
    expect(() => servingAddress(flags, security, () => undefined)).toThrow(message);
  });

  test.each<[string[], string, boolean]>([
    [[], '127.0.0.1:9095', true],
    [['--grpc.listen-address=[::]:9096'], '127.0.0.1:9096', true],
    [['--cluster.insecure'], '0.0.0.0:9095', false],
    [['--grpc.listen-address=127.0.0.2:9095'], '127.0.0.2:9095', false],
    [['--grpc.listen-address=[::1]:9095', '--grpc.advertise-address=localhost:1'], '[::1]:9095', false],
  ])('in plaintext with %j it listens at %s', async (argv, address, isWarned) => {
    const flags = flagsOf(...argv);
    const security = await openClusterSecurity(flags, deps());
    const warnings: string[] = [];
    expect(servingAddress(flags, security, (message) => warnings.push(message))).toBe(address);
    expect(warnings.length > 0).toBe(isWarned);
  });

  test('a process that chose nothing calls nobody on another machine', async () => {
    const security = await openClusterSecurity(flagsOf('--grpc.listen-address=127.0.0.1:9095'), deps());
    expect(await ask(dial(await serve(PLAINTEXT), security))).toMatchObject({ values: ['job'] });
    const port = await freePort();
    // An address of this machine, as others see it, with somebody who listens.
    const listener = createServer().listen(port, '0.0.0.0');
    onTestFinished(() => void listener.close());
    const own = advertisedAddress('0.0.0.0:0', port);
    if (isLoopback(own)) return;
    await expect(ask(dial(own, security))).rejects.toThrow(/would not be encrypted.*--cluster\.insecure/);
  });
});
