// /api/v1/admin: off unless `--web.enable-admin-api`.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { GatewayHost } from '../host.ts';
import { envelope } from '../http/api-error.ts';
import { type Exchange, sendJson, sendResult } from '../http/exchange.ts';
import type { Route } from '../http/route.ts';
import { withDeadline } from './calls.ts';
import { drainStore } from './store-moves-api.ts';

/** Sealing writes all of the head to disk: minutes for a large one. */
const SEAL_TIMEOUT_MS = 600_000;
/** It is told, and answers at once; the work goes on afterwards. */
const DRAIN_TIMEOUT_MS = 10_000;

export interface AdminApiDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly host: GatewayHost;
}

export function adminRoutes(options: { readonly adminApiEnabled: boolean }, deps: AdminApiDeps): Route[] {
  const route = (template: string, handle: (exchange: Exchange) => Promise<void>): Route => ({
    template,
    methods: ['POST', 'PUT'],
    kind: 'api',
    handle: (exchange) =>
      options.adminApiEnabled
        ? handle(exchange)
        : sendJson(
            exchange,
            403,
            envelope('unavailable', 'admin APIs disabled: start with --web.enable-admin-api'),
          ),
  });
  return [
    route('/api/v1/admin/tsdb/seal', (exchange) => sealAll(exchange, deps)),
    route('/api/v1/admin/cluster/forget', (exchange) => forgetStore(exchange, deps)),
    route('/api/v1/admin/cluster/drain', (exchange) =>
      exchange.parameters.get('store') === '' ? drainIngester(exchange, deps) : drainStore(exchange, deps),
    ),
  ];
}

/** A store that will not come back is not waited for any more. */
async function forgetStore(exchange: Exchange, { host }: AdminApiDeps): Promise<void> {
  const store = exchange.parameters.get('store');
  if (store === '') throw new AppError('bad_data', 'parameter store: the name of the store is missing');
  if (host.forgetStore === undefined) {
    throw new AppError('bad_data', 'this process has its own store; there is none to forget');
  }
  await host.forgetStore(store);
  await sendResult(exchange, { data: { forgotten: store } });
}

/**
 * Tells an ingester to hand its partitions over to others, or with `cancel=true` to stay, or with `ask=true` only asks. To be asked
 * again until it is `released`: then nobody needs it any more.
 */
async function drainIngester(exchange: Exchange, { cluster, clock }: AdminApiDeps): Promise<void> {
  const name = exchange.parameters.get('ingester');
  if (name === '')
    throw new AppError('bad_data', 'parameter ingester or store: the name of what is to leave is missing');
  const peer = cluster.ingesterReplication?.().find(({ instance }) => instance === name);
  if (peer === undefined)
    throw new AppError('not_found', `no ingester ${JSON.stringify(name)} is a live member`);
  const isTrue = (parameter: string) => exchange.parameters.get(parameter) === 'true';
  const onTimeout = () =>
    new AppError('timeout', `ingester ${name} did not answer within ${DRAIN_TIMEOUT_MS / 1000} s`);
  const request = { leave: !isTrue('cancel'), onlyAsk: isTrue('ask') };
  const { leaving, released, state } = await withDeadline(
    clock,
    DRAIN_TIMEOUT_MS,
    exchange.signal,
    onTimeout,
    (context) => peer.client.leave(request, context),
  );
  await sendResult(exchange, { data: { ingester: name, leaving, released, state } });
}

/** Everything in the heads of all ingesters becomes blocks; answers when they are durable. */
async function sealAll(exchange: Exchange, deps: AdminApiDeps): Promise<void> {
  const onTimeout = () => new AppError('timeout', `not sealed within ${SEAL_TIMEOUT_MS / 1000} s`);
  const answers = await withDeadline(deps.clock, SEAL_TIMEOUT_MS, exchange.signal, onTimeout, (context) =>
    Promise.all(
      deps.cluster.ingesters().map(({ client }) => client.seal({ tenant: DEFAULT_TENANT }, context)),
    ),
  );
  const blocks = [...new Set(answers.flatMap(({ blockIds }) => blockIds))].sort();
  await sendResult(exchange, { data: { blocks } });
}
