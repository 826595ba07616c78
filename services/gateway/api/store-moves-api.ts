// /api/v1/cluster/moves: what each store holds, lacks, copies and checks, with an estimate of how long it takes. And draining a
// store: the word that it leaves, and how far it is.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { ReplicationStatusResponse } from '../../lib/wire/contracts.ts';
import type { GatewayHost } from '../host.ts';
import { type Exchange, sendResult } from '../http/exchange.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { formatTime } from '../json/json-values.ts';
import { withDeadline } from './calls.ts';

const STATUS_TIMEOUT_MS = 5_000;

export interface StoreMovesDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly host: GatewayHost;
}

/** `data` of /api/v1/cluster/moves. */
export interface MovesAnswer {
  /** Copies of each block. */
  readonly replicationFactor: number;
  /** Bytes that are not yet where they should be. */
  readonly missingBytes: number;
  /** Null while nothing is copied that could be measured. */
  readonly remainingSeconds: number | null;
  readonly stores: readonly StoreMoves[];
}

export interface StoreMoves {
  readonly instance: string;
  readonly zone: string;
  /** live, leaving, absent, silent (live and does not answer). */
  readonly state: string;
  /** Why nothing is known of it, or why it does not go on; empty otherwise. */
  readonly obstacle: string;
  readonly heldBlocks: number;
  readonly heldBytes: number;
  readonly missingBlocks: number;
  readonly missingBytes: number;
  readonly surplusBlocks: number;
  readonly surplusBytes: number;
  readonly bytesPerSecond: number;
  readonly remainingSeconds: number | null;
  readonly moves: readonly {
    tenant: string;
    blockId: string;
    from: string;
    doneBytes: number;
    totalBytes: number;
  }[];
  readonly quarantinedBlocks: number;
  /** Since when all blocks were checked; null when one never was. */
  readonly scrubbedSince: string | null;
  readonly scrubCorruptBlocks: number;
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
  /** By how much its clock is ahead of this gateway's, seconds, give or take the time that it took to answer. */
  readonly clockAheadSeconds: number | null;
  /** Object storage that its blocks are brought to; null where there is none. */
  readonly bucket: BucketMoves | null;
}

export interface BucketMoves {
  /** `s3://bucket/prefix`. */
  readonly name: string;
  /** Blocks there, of all stores. */
  readonly blocks: number;
  /** Blocks that this store has yet to bring there, and their bytes. */
  readonly pendingBlocks: number;
  readonly pendingBytes: number;
  /** The block that is being brought there; null while none is. */
  readonly upload: StoreMoves['moves'][number] | null;
  /** Why it does not go on; empty otherwise. */
  readonly obstacle: string;
  /** Blocks that this store holds and whose chunks are there only, and the bytes of these. */
  readonly evictedBlocks: number;
  readonly evictedBytes: number;
  /** Bytes on its disk of chunks that may leave it or did, and the most of that; 0 and 0: none may. */
  readonly cacheBytes: number;
  readonly cacheBytesMax: number;
}

export function storeMovesRoutes(deps: StoreMovesDeps): Route[] {
  const moves = apiRoute(['GET'], '/api/v1/cluster/moves', async ({ signal }) => ({
    data: await readMoves(deps, signal),
  }));
  return [{ ...moves, kind: 'plain' }];
}

/** Asks all live stores; one that does not answer is told as such. */
export async function readMoves(
  { cluster, clock }: StoreMovesDeps,
  signal: AbortSignal,
): Promise<MovesAnswer> {
  const peers = new Map((cluster.storeReplication?.() ?? []).map((peer) => [peer.instance, peer]));
  const set = cluster.storeSet?.();
  const members =
    set?.members ??
    Array.from(peers.values(), ({ instance, zone = '' }) => ({ instance, zone, leaving: false }));
  const stores = await Promise.all(
    members.map(async ({ instance, zone, leaving }): Promise<StoreMoves> => {
      const peer = peers.get(instance);
      if (peer === undefined)
        return { ...UNKNOWN, instance, zone, state: 'absent', obstacle: 'not a live member' };
      const askedMs = clock.nowMs();
      const onTimeout = () => new AppError('timeout', `no answer within ${STATUS_TIMEOUT_MS / 1000} s`);
      try {
        const status = await withDeadline(clock, STATUS_TIMEOUT_MS, signal, onTimeout, (context) =>
          peer.client.replicationStatus({}, context),
        );
        const aheadMs = status.nowMs - (askedMs + clock.nowMs()) / 2;
        return { instance, zone, state: leaving === true ? 'leaving' : 'live', ...describe(status, aheadMs) };
      } catch (caught) {
        return { ...UNKNOWN, instance, zone, state: 'silent', obstacle: toAppError(caught).message };
      }
    }),
  );
  const missingBytes = stores.reduce((sum, store) => sum + store.missingBytes, 0);
  const estimates = stores.filter((store) => store.missingBytes > 0).map((store) => store.remainingSeconds);
  const remainingSeconds = estimates.includes(null)
    ? null
    : Math.max(0, ...estimates.map((seconds) => seconds ?? 0));
  return { replicationFactor: set?.replicationFactor ?? 1, missingBytes, remainingSeconds, stores };
}

const UNKNOWN = {
  ...{ heldBlocks: 0, heldBytes: 0, missingBlocks: 0, missingBytes: 0, surplusBlocks: 0, surplusBytes: 0 },
  ...{ bytesPerSecond: 0, remainingSeconds: null, moves: [], quarantinedBlocks: 0, scrubbedSince: null },
  ...{ scrubCorruptBlocks: 0, diskFreeBytes: 0, diskTotalBytes: 0, clockAheadSeconds: null },
  bucket: null,
} as const;

function describe(
  status: ReplicationStatusResponse,
  aheadMs: number,
): Omit<StoreMoves, 'instance' | 'zone' | 'state'> {
  const { missingBytes, bytesPerSecond, moves } = status;
  const left = Math.max(0, missingBytes - moves.reduce((sum, { doneBytes }) => sum + doneBytes, 0));
  return {
    obstacle: status.obstacle,
    heldBlocks: status.heldBlocks,
    heldBytes: status.heldBytes,
    missingBlocks: status.missingBlocks,
    missingBytes,
    surplusBlocks: status.surplusBlocks,
    surplusBytes: status.surplusBytes,
    bytesPerSecond: Math.round(bytesPerSecond),
    remainingSeconds: left === 0 ? 0 : bytesPerSecond > 0 ? Math.ceil(left / bytesPerSecond) : null,
    moves,
    quarantinedBlocks: status.quarantinedBlocks,
    scrubbedSince: status.scrubbedSinceMs > 0 ? formatTime(status.scrubbedSinceMs) : null,
    scrubCorruptBlocks: status.scrubCorruptBlocks,
    diskFreeBytes: status.diskFreeBytes,
    diskTotalBytes: status.diskTotalBytes,
    clockAheadSeconds: Math.round(aheadMs) / 1000,
    bucket: status.bucket === undefined ? null : { ...status.bucket, upload: status.bucket.upload ?? null },
  };
}

/**
 * Tells a store to give its blocks to others, or with `cancel=true` to stay, or with `ask=true` only asks. To be asked again until it
 * is `released`: then it holds nothing and may be stopped for good.
 */
export async function drainStore(exchange: Exchange, deps: StoreMovesDeps): Promise<void> {
  const name = exchange.parameters.get('store');
  const isTrue = (parameter: string) => exchange.parameters.get(parameter) === 'true';
  if (deps.host.setStoreLeaving === undefined) {
    throw new AppError('bad_data', 'this process has its own store, which cannot leave');
  }
  if (!isTrue('ask')) await deps.host.setStoreLeaving(name, !isTrue('cancel'));
  const store = (await readMoves(deps, exchange.signal)).stores.find(({ instance }) => instance === name);
  if (store === undefined)
    throw new AppError('not_found', `no store ${JSON.stringify(name)} in the placement`);
  const leaving = deps.cluster
    .storeSet?.()
    ?.members?.some((each) => each.instance === name && each.leaving === true);
  const released =
    leaving === true && store.state !== 'absent' && store.state !== 'silent' && store.heldBlocks === 0;
  const state = released
    ? 'holds nothing any more'
    : `holds ${store.heldBlocks} blocks, ${store.heldBytes} bytes${store.obstacle === '' ? '' : ` (${store.obstacle})`}`;
  await sendResult(exchange, { data: { store: name, leaving: leaving === true, released, state } });
}
