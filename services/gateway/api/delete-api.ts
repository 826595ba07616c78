// /api/v1/admin/tsdb: delete_series, clean_tombstones and snapshot as Prometheus answers them; deletes and undo_delete are
// ours. Off unless `--web.enable-admin-api`.
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { type Matcher, printMatcher } from '../../lib/model/matcher.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import type { PendingDelete } from '../../lib/wire/contracts.ts';
import { fromWireMatchers, toWireMatchers } from '../../lib/wire/matchers.ts';
import { envelope } from '../http/api-error.ts';
import { type Exchange, sendJson, sendResult } from '../http/exchange.ts';
import { invalidParameter, parseTimeRange } from '../http/parameters.ts';
import type { Route } from '../http/route.ts';
import { withDeadline } from './calls.ts';
import { deleteEverywhere, onEach, requireAllNodes, undoEverywhere } from './cluster-deletes.ts';
import { parseSelectors } from './series-api.ts';

/** A delete waits for the seal under way, cleaning rewrites blocks: both may take minutes. */
const TIMEOUT_MS = 600_000;
/** Tells which deletes were made: Prometheus' answer has no body. */
const DELETE_ID_HEADER = 'Tidemark-Delete-Id';

export interface DeleteApiDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
}

export function deleteRoutes(options: { readonly adminApiEnabled: boolean }, deps: DeleteApiDeps): Route[] {
  const route = (
    name: string,
    methods: Route['methods'],
    handle: (exchange: Exchange, deps: DeleteApiDeps) => Promise<void>,
  ): Route => ({
    template: `/api/v1/admin/tsdb/${name}`,
    methods,
    kind: 'api',
    handle: (exchange) =>
      options.adminApiEnabled
        ? handle(exchange, deps)
        : sendJson(exchange, 500, envelope('unavailable', 'admin APIs disabled')),
  });
  return [
    route('delete_series', ['POST', 'PUT'], deleteSeries),
    route('clean_tombstones', ['POST', 'PUT'], cleanTombstones),
    route('snapshot', ['POST', 'PUT'], takeSnapshot),
    route('undo_delete', ['POST', 'PUT'], undoDelete),
    route('deletes', ['GET'], listDeletes),
  ];
}

async function deleteSeries(exchange: Exchange, deps: DeleteApiDeps): Promise<void> {
  const { parameters } = exchange;
  if (parameters.all('match[]').length === 0) throw new AppError('bad_data', 'no match[] parameter provided');
  const range = parseTimeRange(parameters);
  const selectors = await parseSelectors(parameters);
  const deletes = selectors.map((matchers) => ({
    tenant: DEFAULT_TENANT,
    deleteId: randomBytes(16).toString('hex'),
    matchers: toWireMatchers(matchers),
    ...range,
    createdAtMs: deps.clock.nowMs(),
    actor: actorOf(exchange),
  }));
  await calling(exchange, deps, async (context) => {
    for (const request of deletes) await deleteEverywhere(deps.cluster, request, context);
  });
  exchange.response.setHeader(DELETE_ID_HEADER, deletes.map(({ deleteId }) => deleteId).join(','));
  sendNothing(exchange);
}

async function cleanTombstones(exchange: Exchange, deps: DeleteApiDeps): Promise<void> {
  const request = { tenant: DEFAULT_TENANT, actor: actorOf(exchange) };
  await calling(exchange, deps, async (context) => {
    requireAllNodes(deps.cluster);
    await onEach('store', deps.cluster.stores(), ({ client }) => client.cleanTombstones(request, context));
  });
  sendNothing(exchange);
}

async function takeSnapshot(exchange: Exchange, deps: DeleteApiDeps): Promise<void> {
  const skipHead = parseSkipHead(exchange.parameters.get('skip_head'));
  const name = snapshotName(deps.clock.nowMs());
  await calling(exchange, deps, async (context) => {
    requireAllNodes(deps.cluster);
    if (!skipHead) {
      const request = { tenant: '' };
      await onEach('ingester', deps.cluster.ingesters(), ({ client }) => client.seal(request, context));
    }
    await onEach('store', deps.cluster.stores(), ({ client }) => client.snapshot({ name }, context));
  });
  await sendResult(exchange, { data: { name } });
}

/** As Prometheus names them: `20260102T030405Z-0123456789abcdef`. */
function snapshotName(nowMs: number): string {
  const time = new Date(nowMs).toISOString().replace(/[-:]|\.\d+/g, '');
  return `${time}-${randomBytes(8).toString('hex')}`;
}

/** Go's strconv.ParseBool. */
function parseSkipHead(text: string): boolean {
  if (text === '') return false;
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false;
  throw invalidParameter(
    'skip_head',
    `unable to parse boolean "skip_head" argument: ${JSON.stringify(text)}`,
  );
}

async function undoDelete(exchange: Exchange, deps: DeleteApiDeps): Promise<void> {
  const deleteId = exchange.parameters.get('id');
  if (!/^[0-9a-f]{32}$/.test(deleteId)) {
    throw invalidParameter(
      'id',
      `a delete id has 32 hexadecimal digits; ${JSON.stringify(deleteId)} is none`,
    );
  }
  const request = { tenant: DEFAULT_TENANT, deleteId, actor: actorOf(exchange) };
  const undone = await calling(exchange, deps, (context) => undoEverywhere(deps.cluster, request, context));
  if (undone === 0) {
    throw new AppError(
      'not_found',
      `delete ${deleteId} hides nothing any more: it is unknown, or its samples are gone`,
    );
  }
  await sendResult(exchange, { data: { undone } });
}

/** Deletes that can still be undone, of all nodes, oldest first. */
async function listDeletes(exchange: Exchange, deps: DeleteApiDeps): Promise<void> {
  const request = { tenant: DEFAULT_TENANT };
  const found = new Map<string, PendingDelete>();
  await calling(exchange, deps, async (context) => {
    const { cluster } = deps;
    const answers = [
      ...(await onEach('ingester', cluster.ingesters(), ({ client }) =>
        client.listDeletes(request, context),
      )),
      ...(await onEach('store', cluster.stores(), ({ client }) => client.listDeletes(request, context))),
    ];
    for (const one of answers.flatMap(({ deletes }) => deletes)) {
      const known = found.get(one.deleteId);
      found.set(one.deleteId, { ...one, concerned: one.concerned + (known?.concerned ?? 0) });
    }
  });
  const sorted = [...found.values()].sort((a, b) => a.createdAtMs - b.createdAtMs);
  await sendResult(exchange, { data: sorted.map(describeDelete) });
}

function describeDelete(pending: PendingDelete) {
  const matchers: Matcher[] = fromWireMatchers(pending.matchers);
  return {
    id: pending.deleteId,
    match: `{${matchers.map(printMatcher).join(',')}}`,
    start: pending.minTimeMs / 1000,
    end: pending.maxTimeMs / 1000,
    createdAt: new Date(pending.createdAtMs).toISOString(),
    actor: pending.actor,
    concerned: pending.concerned,
  };
}

/** Who asks, for the audit record: the user of the credential where there is one, and the address. */
function actorOf({ request }: Exchange): string {
  const address = request.socket.remoteAddress ?? 'unknown address';
  const [, encoded] = /^Basic ([A-Za-z0-9+/=]+)$/.exec(request.headers.authorization ?? '') ?? [];
  if (encoded === undefined) return address;
  const user = Buffer.from(encoded, 'base64').toString('utf8').split(':', 1)[0]!;
  return `${user.slice(0, 128)} from ${address}`;
}

function calling<T>(
  exchange: Exchange,
  deps: DeleteApiDeps,
  run: (context: CallContext) => Promise<T>,
): Promise<T> {
  const onTimeout = () =>
    new AppError('timeout', `not done within ${TIMEOUT_MS / 1000} s; it can be sent again`);
  return withDeadline(deps.clock, TIMEOUT_MS, exchange.signal, onTimeout, run);
}

function sendNothing({ response }: Exchange): void {
  response.statusCode = 204;
  response.end();
}
