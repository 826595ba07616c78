// /api/v1/status/active_queries, as VictoriaMetrics has it: what all queriers evaluate now; and the end of one of them by its
// id, for who may use the admin API. Both ask every querier: nobody else knows which one runs what.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import type { ActiveQuery } from '../../lib/wire/contracts.ts';
import { envelope } from '../http/api-error.ts';
import { type Exchange, sendJson, sendResult } from '../http/exchange.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { listing, type QuerierClient } from './calls.ts';

export interface ActiveQueriesApiDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
}

export function activeQueriesRoutes(
  options: { readonly adminApiEnabled: boolean },
  deps: ActiveQueriesApiDeps,
): Route[] {
  return [
    apiRoute(['GET'], '/api/v1/status/active_queries', (exchange) => list(exchange, deps)),
    {
      template: '/api/v1/admin/queries/{id}',
      methods: ['DELETE'],
      kind: 'api',
      handle: (exchange) =>
        options.adminApiEnabled
          ? kill(exchange, deps)
          : sendJson(
              exchange,
              403,
              envelope('unavailable', 'admin APIs disabled: start with --web.enable-admin-api'),
            ),
    },
  ];
}

async function list(exchange: Exchange, deps: ActiveQueriesApiDeps) {
  const asked = await askQueriers(exchange, deps, async (client, context) => {
    const { queries } = await client.activeQueries({ tenant: '' }, context);
    return queries;
  });
  const data = asked.answers
    .flatMap(({ instance, answer }) => answer.map((query) => toJson(query, instance)))
    .sort((a, b) => b.durationSeconds - a.durationSeconds);
  return { data, warnings: asked.failures };
}

function toJson(query: ActiveQuery, querier: string) {
  return {
    id: query.id,
    querier,
    tenant: query.tenant,
    query: query.query,
    start: query.startMs,
    end: query.endMs,
    step: query.stepMs,
    startedAt: new Date(query.arrivedMs).toISOString(),
    duration: `${(query.durationMs / 1000).toFixed(3)}s`,
    durationSeconds: query.durationMs / 1000,
    phase: query.phase,
    series: query.series,
    samples: query.samples,
    memoryBytes: query.memoryBytes,
  };
}

async function kill(exchange: Exchange, deps: ActiveQueriesApiDeps): Promise<void> {
  const id = exchange.pathValue;
  const { answers, failures } = await askQueriers(exchange, deps, async (client, context) => {
    const { found } = await client.killQuery({ id }, context);
    return found;
  });
  if (!answers.some(({ answer }) => answer)) {
    const notAsked = failures.length === 0 ? '' : `; ${failures.join('; ')}`;
    throw new AppError('not_found', `no query ${JSON.stringify(id)} is under way${notAsked}`);
  }
  await sendResult(exchange, { data: { id } });
}

/** Answers of all queriers; what some of them could not say is told, not an error. */
async function askQueriers<T>(
  exchange: Exchange,
  { cluster, clock }: ActiveQueriesApiDeps,
  ask: (client: QuerierClient, context: CallContext) => Promise<T>,
) {
  const peers = cluster.queriers();
  const settled = await listing(clock, exchange.signal, (context) =>
    Promise.allSettled(peers.map(({ client }) => ask(client, context))),
  );
  const answers: { readonly instance: string; readonly answer: T }[] = [];
  const failures: string[] = [];
  for (const [i, outcome] of settled.entries()) {
    const { instance } = peers[i]!;
    if (outcome.status === 'fulfilled') answers.push({ instance, answer: outcome.value });
    else failures.push(`querier ${instance} did not answer: ${(outcome.reason as Error).message}`);
  }
  return { answers, failures };
}
