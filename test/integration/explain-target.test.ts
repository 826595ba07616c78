// `tidemark explain target`, the command itself, on a scraper that runs in a scripted cluster: every way in which something is not scraped
// is told for what it is.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Explanation, parseSubject } from '../../services/gateway/api/explain-target.ts';
import { startGateway } from '../support/gateway-rig.ts';
import { type KubernetesScraper, startKubernetesScraper } from '../support/kubernetes-scraper.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { startScrapeTarget } from '../support/scrape-target.ts';
import { freshFolder } from '../support/tidemark.ts';

interface Rig extends KubernetesScraper {
  /** Output and exit code of the command. */
  explain(...args: string[]): Promise<{ text: string; code: number | null }>;
  /** The answer in JSON. */
  ask(target: string): Promise<Explanation>;
}

async function startRig(): Promise<Rig> {
  const scraper = await startKubernetesScraper();
  const { handlers } = scraper.scraper;
  const gateway = await startGateway({
    scraper: { targets: handlers.targets, relabelSteps: handlers.relabelSteps },
  });
  onTestFinished(() => gateway.close());
  const explain = (...args: string[]): Promise<{ text: string; code: number | null }> =>
    new Promise((resolve, reject) => {
      const file = path.join(repositoryRoot, 'services/gateway/tidemark.ts');
      const child = spawn(process.execPath, [file, 'explain', ...args, `--url=${gateway.url}`]);
      let text = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (piece: Buffer) => {
          text += piece.toString();
        });
      child.once('error', reject);
      child.once('close', (code) => resolve({ text, code }));
    });
  const ask = async (target: string): Promise<Explanation> => {
    const query = new URLSearchParams({ target });
    const answer = await fetch(`${gateway.url}/api/v1/targets/explain?${query.toString()}`);
    return ((await answer.json()) as { data: Explanation }).data;
  };
  return { ...scraper, explain, ask };
}

/** A service with one address. */
function putService(rig: Rig, name: string, app: string, address: string): void {
  const [ip, port] = address.split(':');
  const metadata = { name, namespace: 'shop', labels: { app } };
  rig.api.put('services', { metadata });
  rig.api.put('endpoints', {
    metadata: { name, namespace: 'shop' },
    subsets: [{ addresses: [{ ip }], ports: [{ name: 'http', port: Number(port), protocol: 'TCP' }] }],
  });
}

function putMonitor(rig: Rig, name: string, app: string): void {
  rig.api.put('servicemonitors', {
    metadata: { name, namespace: 'shop', labels: {} },
    spec: { selector: { matchLabels: { app } }, endpoints: [{ port: 'http' }] },
  });
}

const SECTION = 'tidemark: {kubernetes_monitors: {}}\n';

test('a Service that is scraped, one that no selector matches, one that is down, one without endpoints', async () => {
  const target = await startScrapeTarget('a 1\n');
  const rig = await startRig();
  putService(rig, 'web', 'web', target.address);
  putService(rig, 'other', 'else', '127.0.0.1:9');
  putService(rig, 'broken', 'broken', '127.0.0.1:9');
  rig.api.put('services', { metadata: { name: 'empty', namespace: 'shop', labels: { app: 'web' } } });
  putMonitor(rig, 'web', 'web');
  putMonitor(rig, 'broken', 'broken');
  await rig.apply('', SECTION);
  await waitFor('web is up', async () => (await rig.ask('service/shop/web')).isScraped);

  const web = await rig.explain('target', 'service/shop/web');
  expect(web.code).toBe(0);
  expect(web.text).toContain('service shop/web: scraped: one target, up\n');
  expect(web.text).toContain(`job serviceMonitor/shop/web/0, ${target.address}\n`);
  expect(web.text).toContain(`  ok  found        found at ${target.address} (service shop/web, ready)\n`);
  expect(web.text).toMatch(/ {2}ok {2}relabelling {2}kept as \{endpoint="http", instance=/);
  expect(web.text).toContain(`  ok  scraper      played scrapes http://${target.address}/metrics\n`);
  expect(web.text).toMatch(/ {2}ok {2}scrape {7}1 samples at 20\S+ in \d+ ms, every 200ms\n/);
  // The other monitor's job found it too, and why it did not take it.
  expect(web.text).toContain('job serviceMonitor/shop/broken/0,');

  const other = await rig.explain('target', 'svc/shop/other');
  expect(other.code).toBe(1);
  expect(other.text).toContain('not scraped: found 2 times, and dropped by relabelling each time');
  expect(other.text).toMatch(
    /NO {2}relabelling {2}step \d+ of \d+ drops it: keep wants \(web\);true, but __meta_kubernetes_service_label_app, __meta_kubernetes_service_labelpresent_app = "else;true" \(the selector of the monitor\)/,
  );

  await waitFor(
    'a failed scrape',
    async () => (await rig.ask('shop/broken')).candidates[0]?.state === 'down',
  );
  const broken = await rig.explain('target', 'shop/broken');
  expect(broken.text).toContain('one target: 0 up, 1 down, 0 not scraped yet');
  expect(broken.text).toMatch(
    /NO {2}scrape {7}failed at 20\S+: Get "http:\/\/127.0.0.1:9\/metrics": .*ECONNREFUSED/,
  );

  const empty = await rig.explain('target', 'service/shop/empty', '--output=json');
  const answer = JSON.parse(empty.text) as Explanation;
  expect(answer.summary).toBe('not scraped: no job finds it');
  expect(answer.hints[0]).toContain('kubectl get endpoints empty -n shop');

  const monitor = await rig.explain('target', 'servicemonitor/shop/gone');
  expect(monitor.text).toContain('there is no job of such a monitor: it does not exist, its labels');
  expect((await rig.explain('target', `servicemonitor/shop/web`)).code).toBe(0);
  expect((await rig.explain('target', target.address)).text).toContain('scraped: one target, up');
});

test('a missing permission is named where nothing is found', async () => {
  const rig = await startRig();
  rig.api.refuse = ({ resource }) =>
    resource === 'pods' ? { status: 403, message: 'pods is forbidden' } : undefined;
  rig.api.put('pods', { metadata: { name: 'p', namespace: 'shop' } });
  await rig.apply('  - {job_name: pods, kubernetes_sd_configs: [{role: pod}]}\n');
  const { text, code } = await rig.explain('target', 'pod/shop/p');
  expect(code).toBe(1);
  expect(text).toContain('pod shop/p: not scraped: no job finds it, and discovery has problems');
  expect(text).toMatch(
    /what does not work in service discovery:\n {2}pods: Kubernetes: list of pods in all namespaces: forbidden \(403\); a ClusterRole needs/,
  );
  expect(text).toMatch(/kubectl get pod p -n shop -o wide/);
});

test('usage', async () => {
  const rig = await startRig();
  for (const args of [['target'], ['target', 'a', '--output=xml']]) {
    const { text, code } = await rig.explain(...args);
    expect([code, text.split('\n')[0]]).toEqual([2, 'Says why something is scraped, or why it is not.']);
  }
  expect((await rig.explain('--help')).code).toBe(0);
});

describe('what is asked for', () => {
  test.each([
    ['service/shop/web', 'service', 'shop', 'web'],
    ['PodMonitor/shop/web', 'monitor', 'shop', 'web'],
    ['node/n1', 'node', '', 'n1'],
    ['shop/web', 'anything', 'shop', 'web'],
    ['job/serviceMonitor/shop/web/0', 'job', '', 'serviceMonitor/shop/web/0'],
    ['10.0.0.7:80', 'anything', '', '10.0.0.7:80'],
    ['http://x/y/z', 'anything', '', 'http://x/y/z'],
    ['pod', 'anything', '', 'pod'],
  ])('%s', (text, kind, namespace, name) => {
    expect(parseSubject(text)).toEqual({ kind, namespace, name });
  });
});

test('what files, URLs and static_configs name: found, dropped, down, or not there', async () => {
  const target = await startScrapeTarget('a 1\n');
  const list = await startScrapeTarget('');
  const targets = [{ targets: [target.address], labels: { team: 'a' } }];
  list.answer = { headers: { 'content-type': 'application/json' }, body: JSON.stringify(targets) };
  const rig = await startRig();
  const file = path.join(freshFolder(), 'hosts.json');
  writeFileSync(file, JSON.stringify(targets));
  const wrong = path.join(freshFolder(), 'wrong.json');
  writeFileSync(wrong, '{');
  await rig.apply(`
  - {job_name: files, file_sd_configs: [{files: ['${file}']}]}
  - {job_name: wrong, file_sd_configs: [{files: ['${wrong}']}]}
  - {job_name: urls, http_sd_configs: [{url: 'http://${list.address}/list'}], relabel_configs: [{source_labels: [team], regex: b, action: keep}]}
  - {job_name: hand, static_configs: [{targets: ['127.0.0.1:9']}]}
`);
  await waitFor('the file is scraped', async () => (await rig.ask('file/hosts.json')).isScraped);
  const found = await rig.explain('target', `file/${file}`);
  expect(found.code).toBe(0);
  expect(found.text).toContain(
    `  ok  found        found at ${target.address} (file_sd_configs, file ${file})\n`,
  );

  const dropped = await rig.ask(`http/http://${list.address}/list`);
  expect(dropped.summary).toBe('not scraped: found once, and dropped by relabelling each time');
  expect(dropped.candidates[0]!.stages.map(({ detail }) => detail)).toEqual([
    `found at ${target.address} (http_sd_configs, URL http://${list.address}/list)`,
    'step 1 of 1 drops it: keep wants b, but team = "a"',
  ]);

  await waitFor(
    'a failed scrape',
    async () => (await rig.ask('static/127.0.0.1:9')).candidates[0]?.state === 'down',
  );
  const down = await rig.explain('target', 'static/127.0.0.1:9');
  expect(down.text).toContain('(static_configs)');
  expect(down.text).toMatch(/NO {2}scrape {7}failed at/);

  const gone = await rig.ask('file/wrong.json');
  expect([gone.isScraped, gone.summary]).toEqual([
    false,
    'not scraped: no job finds it, and discovery has problems',
  ]);
  expect(gone.problems.join()).toContain(wrong);
  expect(gone.hints[0]).toContain('selector: a pattern of files that matches none is no error');
});
