// What answers of a cluster say of themselves, on real processes: how many replicas they rest on, and, when ingesters and stores are
// killed beyond what the others make up for, an error that names what is missing, or an answer with warnings for whoever accepts that.
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, type Node, seesMembers, startCluster } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';

const TIME_MS = Math.floor(Date.now() / 60_000) * 60_000 - 600_000;
const SERIES = 40;

interface Told {
  readonly status: number;
  readonly coverage: string;
  readonly retryAfter: string | null;
  readonly body: {
    readonly status: string;
    readonly errorType?: string;
    readonly error?: string;
    readonly warnings?: readonly string[];
    readonly data?: unknown;
  };
}

async function ask(url: string, path: string): Promise<Told> {
  const response = await fetch(`${url}/api/v1/${path}`);
  return {
    status: response.status,
    coverage: response.headers.get('x-tidemark-coverage') ?? '',
    retryAfter: response.headers.get('retry-after'),
    body: (await response.json()) as Told['body'],
  };
}

const QUERY = `query?query=count(m)&time=${TIME_MS / 1000}&stats=true`;
const range = `start=${TIME_MS / 1000 - 300}&end=${TIME_MS / 1000}`;
const CALLS = [
  QUERY,
  `query_range?query=sum(m)&${range}&step=60`,
  `series?match[]=m&${range}`,
  `labels?${range}`,
  `label/n/values?${range}`,
  `query_exemplars?query=m&${range}`,
];

function samplesOf(): Buffer {
  const series = Array.from({ length: SERIES }, (_, n) => ({
    labels: { __name__: 'm', n: `${n}` },
    samples: [[TIME_MS - 1_000, n]] as [number, number][],
  }));
  return snappyLiterals(encodeWriteRequest(series));
}

/** Whoever is missing is named, whatever is asked; partial answers are given to those who accept them. */
async function expectIncomplete(url: string, names: readonly string[], partial: RegExp): Promise<void> {
  for (const path of CALLS) {
    const { status, retryAfter, body } = await ask(url, path);
    expect([status, retryAfter, body.errorType], `${path}: ${JSON.stringify(body)}`).toEqual([
      ...[503, '5', 'unavailable'],
    ]);
    expect(body.error).toMatch(/^the answer would be incomplete from \S+ to \S+: /);
    for (const name of names) expect(body.error).toContain(name);

    const accepted = await ask(url, `${path}&partial_response=true`);
    expect([accepted.status, accepted.body.status], path).toEqual([200, 'success']);
    expect(accepted.coverage, path).toMatch(partial);
    const warnings = accepted.body.warnings?.join('\n') ?? '';
    for (const name of names) expect(warnings, path).toContain(name);
  }
}

async function expectComplete(url: string, coverage: RegExp): Promise<void> {
  for (const path of CALLS) {
    const told = await ask(url, path);
    expect([told.status, told.body.warnings], `${path}: ${JSON.stringify(told.body)}`).toEqual([
      200,
      undefined,
    ]);
    expect(told.coverage, path).toMatch(coverage);
  }
}

async function end(node: Node, gateway: string): Promise<void> {
  await node.end('SIGKILL');
  await waitFor(`${node.instance} is missed`, async () => {
    const { members } = await membersOf(gateway);
    return members.find(({ instance }) => instance === node.instance)?.state === 'absent';
  });
}

test.skipIf(!hasPrograms('nats-server'))(
  'R14: answers tell what they rest on, and what is missing, whoever of ingesters and stores is killed',
  { timeout: 600_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 3, store: 3, querier: 1, gateway: 1 },
      // Otherwise parts rest on one complete replica each.
      flags: { gateway: ['--web.enable-admin-api'], querier: ['--query.push-down=false'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const { url } = cluster.of('gateway')[0]!;
    await waitFor('all members', () => seesMembers(url, cluster.nodes.length));
    expect(await sendWrite(url, samplesOf())).toBe(204);

    const whole =
      /^complete; partitions=64\/64; replicas=3\/3; complete-replicas=\d; block-copies=2\/2; from=\S+; to=\S+$/;
    await expectComplete(url, whole);
    const { body } = await ask(url, QUERY);
    const { stats } = body.data as { stats: { coverage: unknown } };
    expect(stats.coverage).toMatchObject({
      complete: true,
      partitions: 64,
      from: TIME_MS / 1000 - 300 + 0.001,
      to: TIME_MS / 1000,
      ingesters: [{ partitions: '0-63', owners: 3, answered: 3, covered: true }],
      stores: { copies: 2, read: 2 },
      missing: [],
    });
    // Nothing was read.
    expect((await ask(url, 'query?query=1%2B1')).coverage).toBe('complete');

    const [first, second] = cluster.of('ingester') as [Node, Node];
    await end(first, url);
    await expectComplete(url, /^complete; partitions=64\/64; replicas=2\/3; .*block-copies=2\/2/);
    // Not yet missed by the others: the calls fail. Then it is no member any more.
    await second.end('SIGKILL');
    await expectIncomplete(
      url,
      [second.instance, 'partitions'],
      /^partial; partitions=\d+\/64; replicas=1\/3; /,
    );
    await end(second, url);
    await expectIncomplete(
      url,
      [first.instance, second.instance],
      /^partial; partitions=\d+\/64; replicas=1\/3; /,
    );

    for (const node of [first, second]) await node.start();
    await Promise.all([first, second].map((node) => node.ready()));
    await waitFor('all members again', () => seesMembers(url, cluster.nodes.length));
    await expectComplete(url, whole);

    // Sealed now: what is missing then is the stores'.
    const sealed = await fetch(`${url}/api/v1/admin/tsdb/seal`, { method: 'POST' });
    expect(sealed.ok).toBe(true);
    const stores = cluster.of('store') as [Node, Node, Node];
    await end(stores[0], url);
    await expectComplete(url, /^complete; partitions=64\/64; replicas=3\/3; .*block-copies=1\/2/);
    await end(stores[1], url);
    await expectIncomplete(
      url,
      [stores[0].instance, stores[1].instance],
      /^partial; partitions=64\/64; replicas=3\/3; .*block-copies=0\/2/,
    );
  },
);
