// `tidemark doctor` on a real cluster in which several things are wrong: each is named with its remedy, and is gone once the remedy was taken.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  createCertificateAuthority,
  replaceCertificate,
  type ServiceCertificate,
} from '../support/certificate-authority.ts';
import { type ServiceName, startCluster } from '../support/cluster.ts';
import { askDoctor } from '../support/doctor.ts';
import { hasPrograms } from '../support/process.ts';
import { freePort, waitFor } from '../support/programs.ts';
import { freshFolder } from '../support/tidemark.ts';

const NAME = 'tidemark.test';
const COUNTS: Readonly<Record<ServiceName, number>> = {
  ...{ ingester: 1, store: 1, querier: 1, scraper: 1, 'alert-evaluator': 1, gateway: 1 },
};
const SERVICES = Object.keys(COUNTS) as ServiceName[];

async function serve(port: number): Promise<void> {
  const server = http.createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
      response.end('up_and_well 1\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
}

test.skipIf(!hasPrograms('nats-server', 'openssl'))(
  'doctor names certificates that end, targets and Alertmanagers out of reach, rules beyond the retention, and what carries NATS',
  { timeout: 180_000 },
  async () => {
    const [targetPort, managerPort] = [await freePort(), await freePort()];
    const folder = freshFolder();
    const rules = path.join(folder, 'rules.yml');
    writeFileSync(
      rules,
      'groups: [{ name: g, interval: 1s, rules: [{ record: long, expr: "sum(rate(x[10d] offset 6d))" }, { alert: A, expr: vector(1) }] }]',
    );
    const config = `
rule_files: [${rules}]
alerting: { alertmanagers: [{ static_configs: [{ targets: ['127.0.0.1:${managerPort}'] }] }] }
scrape_configs: [{ job_name: t, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{ targets: ['127.0.0.1:${targetPort}'] }] }]
`;
    const authority = createCertificateAuthority();
    const issue = (days: number): ServiceCertificate => authority.issue({ names: [`DNS:${NAME}`], days });
    const files = Object.fromEntries(SERVICES.map((service) => [service, issue(5)]));
    const flags = Object.fromEntries(
      SERVICES.map((service) => {
        const { cert, key, ca } = files[service]!;
        return [
          service,
          [
            ...[
              `--cluster.tls-cert-file=${cert}`,
              `--cluster.tls-key-file=${key}`,
              `--cluster.tls-ca-file=${ca}`,
            ],
            `--cluster.tls-peer-name=${NAME}`,
            ...(service === 'ingester'
              ? ['--cluster.replication-factor=1', '--store.replication-factor=1']
              : []),
            ...(service === 'alert-evaluator' ? ['--rules.alert.resend-delay=1s'] : []),
          ],
        ];
      }),
    );
    const cluster = await startCluster({ counts: COUNTS, config, flags });
    const { url } = cluster.of('gateway')[0]!;
    const doctor = (): Promise<string> => askDoctor(url);
    const complaints = [
      /warning: the certificate of ingester ingester-0 ends in [45] days/,
      /warning: the certificate of alert-evaluator alert-evaluator-0 ends in [45] days/,
      new RegExp(`1 of 1 targets are down: http://127\\.0\\.0\\.1:${targetPort}/metrics \\(.+\\)`),
      new RegExp(
        `error: the last alerts could not be sent to http://127\\.0\\.0\\.1:${managerPort}/api/v2/alerts`,
      ),
    ];
    const lasting = [
      /rules look back further than samples are kept \(15d\): long of group g/,
      /NATS is one server/,
    ];
    let said = '';
    await waitFor(
      'all is named',
      async () => {
        said = await doctor();
        return [...complaints, ...lasting].every((complaint) => complaint.test(said));
      },
      { timeoutMs: 60_000, describe: () => `${said}\n${cluster.describe()}` },
    );
    expect(said).not.toMatch(/clock|could not be asked|in memory/);

    await serve(targetPort);
    await serve(managerPort);
    for (const service of SERVICES) replaceCertificate(files[service]!, issue(29));
    await waitFor(
      'what was remedied is named no more',
      async () => {
        said = await doctor();
        return complaints.every((complaint) => !complaint.test(said));
      },
      { timeoutMs: 60_000, describe: () => `${said}\n${cluster.describe()}` },
    );
    for (const complaint of lasting) expect(said).toMatch(complaint);
  },
);
