// A real Alertmanager on loopback, and what it holds.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type RunningProcess, startProcess } from './process.ts';
import { answers, findProgram, waitFor } from './programs.ts';

export interface HeldAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly generatorURL: string;
  readonly startsAt: string;
  /** When Alertmanager was last told of it. */
  readonly updatedAt: string;
}

const NOBODY = 'route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n';

/** Tells the webhook of each alert apart, at once, and of none again. */
const toWebhook = (url: string): string => `route:
  receiver: hook
  group_by: ['...']
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 24h
receivers: [{ name: hook, webhook_configs: [{ url: '${url}', send_resolved: true }] }]
`;

/** Starts one that notifies nobody, or a webhook; its data goes to `folder`. */
export async function startAlertmanager(
  folder: string,
  port: number,
  webhook?: string,
): Promise<RunningProcess> {
  const config = path.join(folder, 'alertmanager.yml');
  writeFileSync(config, webhook === undefined ? NOBODY : toWebhook(webhook));
  const manager = startProcess(findProgram('prometheus-alertmanager')!, [
    `--config.file=${config}`,
    `--storage.path=${path.join(folder, 'alertmanager')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address=',
  ]);
  await waitFor('Alertmanager ready', () => answers(`http://127.0.0.1:${port}/-/ready`), {
    describe: () => manager.output(),
  });
  return manager;
}

/** Alerts that it holds as active. */
export async function heldAlerts(port: number): Promise<HeldAlert[]> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v2/alerts?active=true`);
  return (await response.json()) as HeldAlert[];
}
