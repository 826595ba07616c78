// What people scrape, as real processes on loopback: node-exporter, Alertmanager, Pushgateway, NATS, nginx with its exporter, and
// Prometheus itself. NATS has no exporter in Debian: its figures become an exposition here, named as NATS' own exporter names them.
import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { startProcess } from './process.ts';
import { answers, findProgram, freePort, waitFor } from './programs.ts';
import { freshFolder } from './tidemark.ts';

/** Programs that `startRealTargets` starts. */
export const REAL_TARGET_PROGRAMS = [
  'prometheus-node-exporter',
  'prometheus-alertmanager',
  'prometheus-pushgateway',
  'nats-server',
  'nginx',
  'prometheus-nginx-exporter',
  'prometheus',
] as const;

type Program = (typeof REAL_TARGET_PROGRAMS)[number];

/** Starts all of them and waits until each answers: job name → URL of its exposition. They end with the test. */
export async function startRealTargets(): Promise<Map<string, string>> {
  const folder = freshFolder();
  const starts = [
    startNodeExporter(),
    startAlertmanager(folder),
    startPushgateway(),
    startNatsExporter(folder),
    startNginxExporter(folder),
    startPrometheus(folder),
  ];
  const targets = new Map(await Promise.all(starts));
  for (const [name, url] of targets)
    await waitFor(`metrics of ${name}`, () => answers(url), { timeoutMs: 60_000 });
  return targets;
}

type Target = readonly [name: string, url: string];

function run(program: Program, args: readonly string[]): void {
  startProcess(findProgram(program)!, args);
}

async function startNodeExporter(): Promise<Target> {
  const port = await freePort();
  run('prometheus-node-exporter', [`--web.listen-address=127.0.0.1:${port}`]);
  return ['node', `http://127.0.0.1:${port}/metrics`];
}

async function startAlertmanager(folder: string): Promise<Target> {
  const port = await freePort();
  const config = path.join(folder, 'alertmanager.yml');
  writeFileSync(config, 'route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n');
  run('prometheus-alertmanager', [
    `--config.file=${config}`,
    `--storage.path=${path.join(folder, 'alertmanager')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address=',
  ]);
  return ['alertmanager', `http://127.0.0.1:${port}/metrics`];
}

/** With two groups pushed: their series bring `job` and `instance` of their own. */
async function startPushgateway(): Promise<Target> {
  const port = await freePort();
  run('prometheus-pushgateway', [`--web.listen-address=127.0.0.1:${port}`]);
  const url = `http://127.0.0.1:${port}`;
  await waitFor('Pushgateway', () => answers(`${url}/-/ready`));
  const pushed: readonly (readonly [string, string])[] = [
    ['job/backup/instance/db-1', 'backup_bytes{disk="a b"} 1.5e9\nbackup_last_success_seconds 1.7e9\n'],
    [
      'job/backup',
      '# TYPE backup_seconds summary\nbackup_seconds{quantile="0.5"} NaN\nbackup_seconds_sum 3\nbackup_seconds_count 0\n',
    ],
  ];
  for (const [group, body] of pushed) {
    const response = await fetch(`${url}/metrics/${group}`, { method: 'PUT', body });
    if (!response.ok) throw new Error(`Pushgateway refused ${group}: ${await response.text()}`);
  }
  return ['pushgateway', `${url}/metrics`];
}

async function startNatsExporter(folder: string): Promise<Target> {
  const [clients, monitoring] = [await freePort(), await freePort()];
  const store = path.join(folder, 'nats');
  run('nats-server', ['-a', '127.0.0.1', '-p', `${clients}`, '-m', `${monitoring}`, '-js', '-sd', store]);
  const varz = `http://127.0.0.1:${monitoring}/varz`;
  await waitFor('NATS', () => answers(varz));
  const exporter = http.createServer((_request, response) => {
    natsExposition(varz).then(
      (text) => response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(text),
      () => response.writeHead(502).end(),
    );
  });
  await new Promise<void>((resolve) => exporter.listen(0, '127.0.0.1', resolve));
  exporter.unref();
  return ['nats', `http://127.0.0.1:${(exporter.address() as AddressInfo).port}/metrics`];
}

/** Every number that /varz tells, nested ones with their path in the name. */
async function natsExposition(varz: string): Promise<string> {
  const figures = (await (await fetch(varz)).json()) as Record<string, unknown>;
  const labels = `server_id="${String(figures.server_id)}"`;
  const lines: string[] = [];
  const visit = (name: string, value: unknown): void => {
    if (typeof value === 'number') lines.push(`# TYPE ${name} gauge`, `${name}{${labels}} ${value}`);
    else if (typeof value === 'object' && value !== null && !Array.isArray(value))
      for (const [key, each] of Object.entries(value)) visit(`${name}_${key.replaceAll(/\W/g, '_')}`, each);
  };
  visit('gnatsd_varz', figures);
  return `${lines.join('\n')}\n`;
}

async function startNginxExporter(folder: string): Promise<Target> {
  const [web, port] = [await freePort(), await freePort()];
  const prefix = path.join(folder, 'nginx');
  mkdirSync(prefix);
  const config = path.join(prefix, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  writeFileSync(
    config,
    `daemon off; pid ${prefix}/pid; error_log ${prefix}/error.log;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${prefix}/${name};`).join(' ')}
  server { listen 127.0.0.1:${web}; location = /stub_status { stub_status; } }
}
`,
  );
  run('nginx', ['-p', prefix, '-c', config, '-e', `${prefix}/error.log`]);
  const status = `http://127.0.0.1:${web}/stub_status`;
  await waitFor('nginx', () => answers(status));
  run('prometheus-nginx-exporter', [`-nginx.scrape-uri=${status}`, `-web.listen-address=127.0.0.1:${port}`]);
  return ['nginx', `http://127.0.0.1:${port}/metrics`];
}

async function startPrometheus(folder: string): Promise<Target> {
  const port = await freePort();
  const config = path.join(folder, 'scraped.yml');
  writeFileSync(config, 'global: {}\n');
  run('prometheus', [
    `--config.file=${config}`,
    `--storage.tsdb.path=${path.join(folder, 'scraped')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  return ['prometheus', `http://127.0.0.1:${port}/metrics`];
}
