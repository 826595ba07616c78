// The alert path of the running process, with nothing played: Tidemark scrapes a real node-exporter, which dies; the rule fires, a
// real Alertmanager holds the alert; the exporter comes back, and Alertmanager is told that it is over.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { heldAlerts, startAlertmanager } from '../support/alertmanager.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { findProgram, freePort, waitFor } from '../support/programs.ts';
import { callApi, freshFolder, queryInstant, startTidemark } from '../support/tidemark.ts';

const PROGRAMS = ['prometheus-node-exporter', 'prometheus-alertmanager'] as const;

test.skipIf(!hasPrograms(...PROGRAMS))(
  'a target dies and comes back: Alertmanager holds the alert, then lets it go',
  { timeout: 120_000 },
  async () => {
    const [nodePort, managerPort] = [await freePort(), await freePort()];
    const folder = freshFolder();
    const manager = await startAlertmanager(folder, managerPort);
    const rules = path.join(folder, 'rules.yml');
    writeFileSync(
      rules,
      `groups:
  - name: targets
    interval: 1s
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: TargetDown
        expr: up == 0
        for: 2s
        labels: { severity: page }
        annotations:
          summary: '{{ $labels.instance }} of {{ $labels.job }} is down ({{ $value }})'
`,
    );
    const runExporter = () =>
      startProcess(findProgram(PROGRAMS[0])!, [`--web.listen-address=127.0.0.1:${nodePort}`]);
    const exporter = runExporter();
    const tidemark = await startTidemark({
      config: `global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s, external_labels: { cluster: test } }
rule_files: ['${rules}']
alerting: { alertmanagers: [{ static_configs: [{ targets: ['127.0.0.1:${managerPort}'] }] }] }
scrape_configs: [{ job_name: node, static_configs: [{ targets: ['127.0.0.1:${nodePort}'] }] }]
`,
      flags: ['--rules.alert.resend-delay=1s'],
    });
    await waitFor('the recorded series', async () => {
      const [sample] = await queryInstant(tidemark.url, 'job:up:sum{job="node"}');
      return sample?.value[1] === '1';
    });
    expect(await heldAlerts(managerPort)).toEqual([]);

    await exporter.end('SIGKILL');
    const [alert] = await waitFor(
      'the alert in Alertmanager',
      async () => {
        const held = await heldAlerts(managerPort);
        return held.length > 0 && held;
      },
      { describe: () => tidemark.output() + manager.output() },
    );
    const instance = `127.0.0.1:${nodePort}`;
    expect(alert!.labels).toEqual({
      ...{ alertname: 'TargetDown', cluster: 'test', instance, job: 'node', severity: 'page' },
    });
    expect(alert!.annotations).toEqual({ summary: `${instance} of node is down (0)` });
    expect(alert!.generatorURL).toContain('/graph?g0.expr=up+%3D%3D+0');
    const listed = await callApi(tidemark.url, 'alerts', {});
    expect(listed.body.data).toMatchObject({ alerts: [{ state: 'firing', value: '0e+00' }] });
    expect(await queryInstant(tidemark.url, 'ALERTS{alertstate="firing"}')).toHaveLength(1);

    runExporter();
    await waitFor(
      'the end of the alert in Alertmanager',
      async () => (await heldAlerts(managerPort)).length === 0,
      {
        describe: () => tidemark.output() + manager.output(),
      },
    );
    expect(await queryInstant(tidemark.url, 'ALERTS')).toEqual([]);
  },
);
