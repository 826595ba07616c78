// A cluster of processes with mutual TLS: it writes, queries and replaces its certificates, and a process without one stays outside.
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import {
  createCertificateAuthority,
  replaceCertificate,
  type ServiceCertificate,
} from '../support/certificate-authority.ts';
import { type Node, startCluster, startNode } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { queryInstant } from '../support/tidemark.ts';

const NAME = 'tidemark.test';
const SERVICES = ['ingester', 'store', 'querier', 'gateway'] as const;

const flagsOf = ({ cert, key, ca }: ServiceCertificate): readonly string[] => [
  ...[`--cluster.tls-cert-file=${cert}`, `--cluster.tls-key-file=${key}`, `--cluster.tls-ca-file=${ca}`],
  `--cluster.tls-peer-name=${NAME}`,
];

const metricOf = async ({ url }: Node, line: RegExp): Promise<number> =>
  Number(line.exec(await (await fetch(`${url}/metrics`)).text())?.[1]);

test.skipIf(!hasPrograms('nats-server', 'openssl'))(
  'a cluster with mutual TLS serves, changes its certificates without a failed query, and lets in nobody without one',
  { timeout: 120_000 },
  async () => {
    const authority = createCertificateAuthority();
    const issue = (): ServiceCertificate => authority.issue({ names: [`DNS:${NAME}`] });
    const files = Object.fromEntries(SERVICES.map((service) => [service, issue()]));
    const flags = Object.fromEntries(
      SERVICES.map((service) => [
        service,
        service === 'ingester'
          ? [...flagsOf(files[service]!), '--cluster.replication-factor=1', '--store.replication-factor=1']
          : flagsOf(files[service]!),
      ]),
    );
    const counts = { ingester: 1, store: 1, querier: 1, gateway: 1 };
    const { nats, nodes, of, describe } = await startCluster({ counts, flags });
    const [gateway] = of('gateway');
    const timeMs = Date.now();
    const series = Array.from({ length: 50 }, (_, i) => ({
      labels: { __name__: 'encrypted', series: String(i) },
      samples: [[timeMs, i]] as [number, number][],
    }));
    expect(await sendWrite(gateway!.url, snappyLiterals(encodeWriteRequest(series)))).toBe(204);
    const asksWell = async (): Promise<void> => {
      const [sum] = await queryInstant(gateway!.url, 'sum(encrypted)', timeMs / 1_000);
      expect(sum!.value[1]).toBe(String((50 * 49) / 2));
    };
    await asksWell();

    // Calls of a stranger reach nobody, and its owner finds out why in either log.
    const stranger = await startNode('querier', 'stranger', {
      ...{ natsUrl: nats.url, zone: '', configFile: '', flags: ['--cluster.insecure'] },
    });
    const [ingester] = of('ingester');
    await waitFor(
      'the ingester says whom it refused',
      async () => /refused a connection.*peer=127\.0\.0\.1.*does not speak TLS/.test(ingester!.output()),
      { timeoutMs: 30_000, describe: () => `${stranger.output()}\n${describe()}` },
    );
    expect((await fetch(`${stranger.url}/-/ready`)).status).toBe(503);
    await stranger.end();

    const over = new AbortController();
    let asked = 0;
    const load = (async () => {
      for (; !over.signal.aborted; asked++) await asksWell();
    })();
    load.catch(() => undefined);
    for (const service of SERVICES) replaceCertificate(files[service]!, issue());
    for (const node of nodes) {
      const loaded = /^tidemark_tls_reloads_total\{[^}]*outcome="loaded"[^}]*\} (\d+)/m;
      await waitFor(`${node.instance} has the new one`, async () => (await metricOf(node, loaded)) >= 1, {
        describe: node.output,
      });
    }
    over.abort();
    await load;
    expect(asked).toBeGreaterThan(0);
    // A restarted ingester is called by new connections, with the new certificates on both sides.
    await ingester!.end('SIGTERM');
    await ingester!.start();
    await ingester!.ready();
    await waitFor('answers again', () => asksWell().then(() => true), { describe });
    for (const node of nodes) {
      const ends = /^tidemark_tls_certificate_expiry_timestamp_seconds\{[^}]*certificate="own"[^}]*\} (\S+)/m;
      expect((await metricOf(node, ends)) * 1_000, node.instance).toBeGreaterThan(Date.now() + 86_400_000);
    }

    const command = (name: string): string =>
      spawnSync(process.execPath, ['services/gateway/tidemark.ts', name, `--url=${gateway!.url}`], {
        cwd: repositoryRoot,
        encoding: 'utf8',
      }).stdout;
    expect(command('status')).toMatch(/ingester-0/);
    expect(command('doctor')).toMatch(/NATS is one server/);
  },
);
