// Prometheus' and Thanos' PromQL test scripts over the HTTP API of a cluster of processes: every series by remote write 2.0 at the
// scripts' own times near 1970, every evaluation at the query API, none shifted and none left out, with the answers that the scripts
// expect; once more with an ingester killed; and expressions of dashboards and rules. TIDEMARK_SCRIPT_TIMES=all asks queries with
// pinned selectors at all of the times that upstream's runner asks them at, and all expressions of the field.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { type Node, startCluster } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { hasShared, sharedPath } from '../support/shared.ts';
import { callApi } from '../support/tidemark.ts';
import { fieldExpressions } from './field-expressions.ts';
import { HttpSubject } from './http-subject.ts';
import { type Block, batchBlocks } from './script-batches.ts';
import { runCommands } from './script-runner.ts';

const FOLDERS = [
  'conformance/promql/prometheus+prometheus/promql/promqltest/testdata',
  'conformance/promql/thanos-io+thanos/pkg/query/testdata/promql/thanos',
];
const SCRIPTS = FOLDERS.filter((folder) => hasShared(folder)).flatMap((folder) =>
  readdirSync(sharedPath(folder))
    .filter((file) => file.endsWith('.test'))
    .map((file) => path.join(folder, file)),
);
const FEATURES = `--enable-feature=${[
  'promql-experimental-functions',
  'promql-extended-range-selectors',
  'promql-binop-fill-modifiers',
  'promql-delayed-name-removal',
  'use-start-timestamps',
].join()}`;
/** Samples of 1970 are within it. */
const RETENTION = '--storage.tsdb.retention.time=100y';
const IS_COMPLETE = process.env.TIDEMARK_SCRIPT_TIMES === 'all';
/** TIDEMARK_PUSH_DOWN=false: the same by chunks. */
const PUSHES_DOWN = process.env.TIDEMARK_PUSH_DOWN !== 'false';
const PARTITIONS = 64;
/** Every so many-th expression of the field. */
const FIELD_STRIDE = IS_COMPLETE ? 1 : 20;
/** Far more than on a quiet machine. */
const TIMEOUT_MS = IS_COMPLETE ? 3_600_000 : 900_000;

interface Outcome {
  cases: number;
  readonly failures: string[];
}

async function runBlock({ file, commands }: Block, subject: HttpSubject, outcome: Outcome): Promise<void> {
  const folder = path.dirname(file).includes('thanos') ? 'thanos/' : '';
  for (const { line, query, failure } of await runCommands(commands, subject)) {
    const id = `${folder}${path.basename(file)}:${line}`;
    outcome.cases++;
    if (failure !== undefined) outcome.failures.push(`${id} ${query}: ${failure}`);
  }
}

/** The block without its loads; undefined where a load follows an evaluation. */
function withoutLoads({ file, commands }: Block): Block | undefined {
  const firstEval = commands.findIndex(({ kind }) => kind === 'eval');
  const evals = commands.slice(firstEval);
  return evals.every(({ kind }) => kind === 'eval') ? { file, commands: evals } : undefined;
}

/** What a counter of all these processes says. */
async function counted(nodes: readonly Node[], name: string): Promise<number> {
  const texts = await Promise.all(nodes.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
  const lines = texts.flatMap((text) => text.split('\n').filter((line) => line.startsWith(`${name} `)));
  return lines.reduce((sum, line) => sum + Number(line.slice(name.length + 1)), 0);
}

/** Expressions of dashboards and rules, evaluated and formatted, what is formatted once more; what went wrong. */
async function askField(url: string, queries: readonly string[]): Promise<string[]> {
  const errors: string[] = [];
  for (const query of queries) {
    const { body } = await callApi(url, 'query', { query, time: '100000' });
    if (body.status !== 'success') errors.push(`${query}: ${body.errorType}: ${body.error}`);
    const formatted = await callApi(url, 'format_query', { query });
    const again = await callApi(url, 'format_query', { query: String(formatted.body.data) });
    if (formatted.body.status !== 'success' || again.body.data !== formatted.body.data) {
      errors.push(
        `${query} is formatted as ${String(formatted.body.data)}, and that as ${String(again.body.data)}`,
      );
    }
  }
  return errors;
}

test.skipIf(!hasPrograms('nats-server') || SCRIPTS.length === 0)(
  'the scripts over the HTTP API of a cluster, and with an ingester killed',
  { timeout: TIMEOUT_MS },
  async () => {
    const batches = batchBlocks(
      SCRIPTS.map((file) => [file, readFileSync(sharedPath(file), 'utf8')] as const),
    );
    // The last batch is asked again.
    batches.sort((a, b) => a.length - b.length);
    batches.push(...batches.splice(batches.length - 2, 1));
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 2, gateway: 1 },
      flags: {
        gateway: [RETENTION, FEATURES, '--web.enable-admin-api'],
        store: [RETENTION],
        querier: [FEATURES, '--query.default-subquery-step=1m', `--query.push-down=${PUSHES_DOWN}`],
      },
    });
    const url = cluster.of('gateway')[0]!.url;
    const asksPinned = (index: number): boolean => IS_COMPLETE || index === 0;
    const subject = new HttpSubject({ url, concurrency: 4, asksPinned });
    const outcome: Outcome = { cases: 0, failures: [] };
    for (const batch of batches) {
      await subject.clear();
      for (const block of batch) await runBlock(block, subject, outcome);
    }
    expect(outcome.failures, cluster.describe()).toEqual([]);
    expect(outcome.cases).toBeGreaterThanOrEqual(1595);
    const { queries } = subject;
    const queriers = cluster.of('querier');
    const pushed = await counted(queriers, 'tidemark_querier_partitions_pushed_total');
    const refused = await counted(queriers, 'tidemark_querier_partitions_refused_total');
    console.log(`${pushed} partitions evaluated by ingesters, ${refused} refused`);
    // With push-down, that is; most parts of the scripts' queries can be.
    if (PUSHES_DOWN) expect(pushed).toBeGreaterThan(PARTITIONS * 200);
    else expect(pushed).toBe(0);
    console.log(
      `${outcome.cases} evaluations by ${queries} queries over HTTP, none shifted or skipped; ` +
        `${subject.samples} samples in ${subject.writes} writes, ${subject.deletes} deletes`,
    );

    await cluster.of('ingester')[1]!.end('SIGKILL');
    const again: Outcome = { cases: 0, failures: [] };
    for (const block of batches.at(-1)!.map(withoutLoads)) {
      if (block !== undefined) await runBlock(block, subject, again);
    }
    expect(again.failures, cluster.describe()).toEqual([]);
    expect(again.cases).toBeGreaterThan(100);
    console.log(`${again.cases} evaluations by ${subject.queries - queries} queries without one ingester`);

    const field = fieldExpressions().filter((_, i) => i % FIELD_STRIDE === 0);
    expect(await askField(url, field)).toEqual([]);
    expect(field.length).toBeGreaterThan(200);
    console.log(`${field.length} expressions of dashboards and rules`);
  },
);
