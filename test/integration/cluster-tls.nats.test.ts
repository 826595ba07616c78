// A cluster of processes with mutual TLS: it writes, queries and replaces its certificates, and a process without one stays outside. And one in
// plaintext that changes to it.
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import {
  createCertificateAuthority,
  replaceCertificate,
  type ServiceCertificate,
} from '../support/certificate-authority.ts';
import { type Node, startCluster, startNode } from '../support/cluster.ts';
import { askDoctor } from '../support/doctor.ts';
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
  { timeout: 240_000 },
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

test.skipIf(!hasPrograms('nats-server', 'openssl'))(
  'a cluster in plaintext changes to mutual TLS, process by process in two rounds, and serves after each step',
  { timeout: 600_000 },
  async () => {
    const authority = createCertificateAuthority();
    const { cert, key, ca } = authority.issue({ names: [`DNS:${NAME}`] });
    const counts = { ingester: 3, store: 1, querier: 1, gateway: 1 };
    const ofIngesters = ['--cluster.partitions=4', '--store.replication-factor=1'];
    const { nodes, of, describe } = await startCluster({ counts, flags: { ingester: ofIngesters } });
    const gateway = of('gateway')[0]!.url;
    const timeMs = Date.now();
    let written = 0;
    const serves = async (): Promise<boolean> => {
      const labels = { __name__: 'moved', n: String(written + 1) };
      const body = snappyLiterals(encodeWriteRequest([{ labels, samples: [[timeMs, 1]] }]));
      if ((await sendWrite(gateway, body)) !== 204) return false;
      written++;
      const [count] = await queryInstant(gateway, 'count(moved)', timeMs / 1_000);
      return count!.value[1] === String(written);
    };
    const tls = {
      TIDEMARK_CLUSTER_TLS_CERT_FILE: cert,
      TIDEMARK_CLUSTER_TLS_KEY_FILE: key,
      TIDEMARK_CLUSTER_TLS_CA_FILE: ca,
      TIDEMARK_CLUSTER_TLS_PEER_NAME: NAME,
    };
    const restart = async (node: Node, env: Readonly<Record<string, string>>): Promise<void> => {
      await node.end('SIGTERM');
      await node.start(undefined, env);
      await node.ready();
      const describeBoth = (): string => `after ${node.instance}\n${describe()}`;
      await waitFor(`served after ${node.instance}`, serves, { timeoutMs: 60_000, describe: describeBoth });
    };
    await waitFor('served in plaintext', serves, { timeoutMs: 60_000, describe });
    for (const node of nodes) await restart(node, { ...tls, TIDEMARK_CLUSTER_TLS_TRANSITION: 'true' });
    const said = await askDoctor(gateway);
    expect(said).toMatch(
      /plaintext are accepted beside TLS by .*ingester ingester-0.*--cluster\.tls-transition/s,
    );
    const plain = /^tidemark_tls_plaintext_connections_total\{side="server"\} (\d+)/m;
    expect(await metricOf(of('ingester')[0]!, plain)).toBeGreaterThan(0);
    for (const node of nodes) await restart(node, tls);
    expect(await askDoctor(gateway)).not.toMatch(/plaintext/);
    // Each of the second round was called in TLS by those that took both, or it would not have been ready.
    for (const node of nodes) expect(await metricOf(node, plain), node.instance).toBeNaN();
  },
);
