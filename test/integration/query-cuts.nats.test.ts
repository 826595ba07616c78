// R14: ingesters are cut off, one or two of three: nothing passes to or from them, and nobody is told. Without one every answer is complete and
// equal; without two it is refused, or, for whoever accepts that, partial with a warning. Never is it silently short.
// TIDEMARK_QUERY_CUTS sets how many cuts there are, TIDEMARK_QUERY_CUT_SEED which. Cuts between chosen processes, by dropped packets:
// `npm run chaos -- --namespaces --faults 'cut queriers*'`.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { FaultProxy } from '../../load-tests/chaos/fault-proxy.ts';
import { seesMembers, startCluster } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { freePort, waitFor } from '../support/programs.ts';
import { randomOf } from '../support/random.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi } from '../support/tidemark.ts';

const CUTS = Number(process.env.TIDEMARK_QUERY_CUTS ?? 2);
const SEED = Number(process.env.TIDEMARK_QUERY_CUT_SEED ?? 14);
const TIME_MS = Math.floor(Date.now() / 60_000) * 60_000 - 600_000;
const SERIES = 200;
const ASKS_PER_CUT = 4;
const QUERIES = ['sum by (n) (m)', 'count(m)', 'm{n=~"1.*"}', 'sum(rate(m[5m]))'] as const;

type Answers = ReadonlyMap<string, string>;

interface Told {
  readonly httpStatus: number;
  readonly warnings: number;
  /** The answer's series as sorted text, and what an error says. */
  readonly text: string;
  readonly error: string;
}

async function ask(gateway: string, query: string, isPartialAccepted: boolean): Promise<Told> {
  const parameters: Record<string, string> = { query, time: String(TIME_MS / 1000) };
  if (isPartialAccepted) parameters.partial_response = 'true';
  const { httpStatus, body } = await callApi(gateway, 'query', parameters);
  const { result = [] } = (body.data ?? {}) as { result?: unknown[] };
  const { warnings = [] } = body as { warnings?: readonly string[] };
  const text = JSON.stringify(result.map((one) => JSON.stringify(one)).sort());
  return { httpStatus, warnings: warnings.length, text, error: body.error ?? '' };
}

/** What came of all queries. @throws Error for an answer that is silently short, or refused where it need not be. */
async function askAll(
  gateway: string,
  expected: Answers,
  told: Record<string, number>,
  isComplete: boolean,
): Promise<void> {
  for (let n = 0; n < ASKS_PER_CUT; n++) {
    const query = QUERIES[n % QUERIES.length]!;
    const isPartialAccepted = n % 2 === 1;
    const { httpStatus, warnings, text, error } = await ask(gateway, query, isPartialAccepted);
    const isEqual = text === expected.get(query);
    const outcome =
      httpStatus !== 200 ? 'refused' : warnings > 0 ? 'partial' : isEqual ? 'complete' : 'silently short';
    told[outcome] = (told[outcome] ?? 0) + 1;
    const allowed = isComplete
      ? ['complete']
      : ['complete', 'refused', ...(isPartialAccepted ? ['partial'] : [])];
    expect(allowed, `${query}: ${httpStatus} ${error} ${text.slice(0, 200)}`).toContain(outcome);
  }
}

test.skipIf(!hasPrograms('nats-server'))(
  `R14: ingesters are cut off ${CUTS} times: without one answers are complete, without two refused or partial and say so (seed ${SEED})`,
  { timeout: 120_000 + CUTS * 60_000 },
  async () => {
    const random = randomOf(SEED);
    const proxies: FaultProxy[] = [];
    onTestFinished(() => Promise.all(proxies.map((proxy) => proxy.stop())).then(() => undefined));
    const cluster = await startCluster({
      counts: { ingester: 3, store: 1, querier: 1, gateway: 1 },
      flags: { ingester: ['--store.replication-factor=1'] },
      advertise: async (instance, grpcPort) => {
        if (!instance.startsWith('ingester')) return undefined;
        const proxy = await FaultProxy.start(await freePort(), grpcPort);
        proxies.push(proxy);
        return `127.0.0.1:${proxy.port}`;
      },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateway = cluster.of('gateway')[0]!.url;
    await waitFor('all members', () => seesMembers(gateway, cluster.nodes.length), { timeoutMs: 60_000 });
    for (const agoMs of [120_000, 60_000, 1_000]) {
      const series = Array.from({ length: SERIES }, (_, n) => ({
        labels: { __name__: 'm', n: `${n}` },
        samples: [[TIME_MS - agoMs, n * 1_000_000 - agoMs]] as const,
      }));
      expect(await sendWrite(gateway, snappyLiterals(encodeWriteRequest(series)))).toBe(204);
    }
    const expected = new Map<string, string>();
    for (const query of QUERIES) expected.set(query, (await ask(gateway, query, false)).text);
    // Worked out by hand: the series are there at all.
    expect(JSON.parse(JSON.parse(expected.get('count(m)')!)[0])).toMatchObject({
      value: [TIME_MS / 1000, `${SERIES}`],
    });

    const told: Record<string, number> = {};
    const told2: Record<string, number> = {};
    for (let cut = 0; cut < CUTS; cut++) {
      const isOne = cut < 2 ? cut === 0 : random() < 0.5;
      const chosen = Math.floor(random() * proxies.length);
      const silent = proxies.filter((_, i) => (i === chosen) === isOne);
      for (const proxy of silent) proxy.silence();
      await sleep(random() * 500);
      await askAll(gateway, expected, isOne ? told : told2, isOne);
      for (const proxy of silent) proxy.heal();
      await waitFor(
        `complete answers after cut ${cut}`,
        async () => (await ask(gateway, QUERIES[0], false)).text === expected.get(QUERIES[0]),
        { timeoutMs: 60_000, describe: cluster.describe },
      );
      process.stdout.write(`cut ${cut}: of ${silent.length}\n`);
    }
    console.log(
      `R14: ${CUTS} cuts, seed ${SEED}: without one ${JSON.stringify(told)}, without two ${JSON.stringify(told2)}`,
    );
    // Without two somebody was told.
    expect((told2.refused ?? 0) + (told2.partial ?? 0)).toBeGreaterThan(0);
  },
);
