// A real Alertmanager receives a firing alert and its resolution from the alert evaluator. What the rule's query finds is
// up to the test; everything else is real: rule file, templates, relabelling, HTTP.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { createAlertEvaluator } from '../../services/alert-evaluator/service.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { alertmanagerSection, createRuleWorld, ruleConfig } from '../support/rule-world.ts';
import { freshFolder } from '../support/tidemark.ts';

const PROGRAM = 'prometheus-alertmanager';
const INTERVAL_MS = 200;

const RULES = `groups:
  - name: hosts
    rules:
      - alert: HostDown
        expr: up == 0
        for: 400ms
        labels:
          severity: '{{ if eq $labels.job "node" }}page{{ else }}ticket{{ end }}'
        annotations:
          summary: '{{ $labels.instance }} is down ({{ $value | printf "%.1f" }}) in {{ $externalLabels.region }}'
`;

interface ReceivedAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly endsAt: string;
  readonly generatorURL: string;
  readonly status: { readonly state: string };
}

/** Alerts that the Alertmanager holds; resolved ones are not among them. */
async function activeAlerts(url: string): Promise<ReceivedAlert[]> {
  const response = await fetch(`${url}/api/v2/alerts`);
  expect(response.status).toBe(200);
  return (await response.json()) as ReceivedAlert[];
}

test.skipIf(!hasPrograms(PROGRAM))(
  'a real Alertmanager receives a firing alert, and its resolution',
  { timeout: 60_000 },
  async () => {
    const folder = freshFolder();
    const port = await freePort();
    const configFile = path.join(folder, 'alertmanager.yml');
    writeFileSync(configFile, 'route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n');
    const alertmanager = startProcess(findProgram(PROGRAM)!, [
      `--config.file=${configFile}`,
      `--storage.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--cluster.listen-address=',
    ]);
    const url = `http://127.0.0.1:${port}`;
    await waitFor('Alertmanager is ready', () => answers(`${url}/-/ready`), {
      describe: alertmanager.output,
    });

    const ruleFile = path.join(folder, 'rules.yml');
    writeFileSync(ruleFile, RULES);
    const world = createRuleWorld();
    const down = [[{ __name__: 'up', instance: 'host-1:9100', job: 'node', replica: 'a' }, 0]] as const;
    world.answer = () => down;
    const registry = new Registry();
    const evaluator = createAlertEvaluator(
      { externalUrl: 'http://tidemark.example/metrics/', features: DEFAULT_FEATURES, resendDelayMs: 2000 },
      {
        cluster: world.cluster,
        distributor: world.distributor,
        clock: systemClock,
        logger: createSilentLogger(),
        registry,
      },
    );
    onTestFinished(async () => {
      await evaluator.drain();
      await evaluator.stop();
    });
    await evaluator.start();
    await evaluator.applyConfig(
      ruleConfig({
        ruleFiles: [path.join(folder, '*.yml').replace('*', 'rul*')],
        intervalMs: INTERVAL_MS,
        externalLabels: { region: 'eu', severity: 'never' },
        alerting: {
          alertmanagers: [alertmanagerSection([`127.0.0.1:${port}`])],
          alertRelabelConfigs: [
            {
              action: 'labeldrop',
              sourceLabels: [],
              separator: ';',
              regex: 'replica',
              modulus: 0,
              targetLabel: '',
              replacement: '$1',
            },
          ],
        },
      }),
    );
    const context = { signal: new AbortController().signal };
    expect(await evaluator.handlers.alertmanagers({}, context)).toEqual({
      active: [`${url}/api/v2/alerts`],
      dropped: [],
    });

    const firing = await waitFor('the alert fires', async () => (await activeAlerts(url))[0], {
      describe: alertmanager.output,
    });
    expect(firing.labels).toEqual({
      alertname: 'HostDown',
      instance: 'host-1:9100',
      job: 'node',
      region: 'eu',
      severity: 'page',
    });
    expect(firing.annotations).toEqual({ summary: 'host-1:9100 is down (0.0) in eu' });
    expect(firing.status.state).toBe('active');
    expect(firing.generatorURL).toBe('http://tidemark.example/metrics/graph?g0.expr=up+%3D%3D+0&g0.tab=1');
    // It was pending for 400 ms at least, and is promised for four resend delays.
    const firstSeen = world.written.find(({ series }) => series.startsWith('ALERTS{'))!.timeMs;
    expect(Date.parse(firing.startsAt) - firstSeen).toBeGreaterThanOrEqual(400);
    expect(Date.parse(firing.endsAt)).toBeGreaterThan(Date.now());

    world.answer = () => [];
    await waitFor('the alert is resolved', async () => (await activeAlerts(url)).length === 0, {
      // Were it only forgotten, it would end eight seconds after it was last sent.
      timeoutMs: 4000,
      describe: alertmanager.output,
    });
    const { groups } = await evaluator.handlers.ruleGroups({}, context);
    expect(groups[0]!.rules[0]!.alerting).toMatchObject({ state: 'inactive', alerts: [] });
    const last = world.written.filter(({ series }) => series.startsWith('ALERTS{')).at(-1);
    expect(last).toMatchObject({ value: 'stale' });
    expect(await registry.metrics()).toMatch(
      /tidemark_notifications_sent_total\{alertmanager="[^"]+"\} [1-9]/,
    );
  },
);
