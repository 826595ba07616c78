// From the placement and the live members to streams: for each partition, which ingesters are written to now. Worked out again
// only when one of the two changes.
import { AppError } from '../core/errors.ts';
import type { Placement } from '../placement/placement.ts';
import type { Cluster, Peer } from '../transport/cluster.ts';
import type { IngesterClient } from './ingester-session.ts';
import type { IngesterStream } from './ingester-stream.ts';

type IngesterPeer = Peer<IngesterClient>;

/** Who takes which partition, at one moment. */
export interface Routes {
  readonly epoch: number;
  readonly partitionCount: number;
  /** Streams of the live owners. */
  readonly streams: readonly IngesterStream[];
  /** Indexes into `streams`, by partition; owners that are not live are left out. */
  readonly replicas: readonly (readonly number[])[];
}

/** Keeps one stream per live ingester that owns something. */
export class RouteTable {
  readonly #cluster: Cluster;
  readonly #open: (peer: IngesterPeer) => IngesterStream;
  readonly #streams = new Map<string, IngesterStream>();
  #placement: Placement | undefined;
  #peers: readonly IngesterPeer[] = [];
  #routes: Routes | undefined;

  constructor(cluster: Cluster, open: (peer: IngesterPeer) => IngesterStream) {
    this.#cluster = cluster;
    this.#open = open;
  }

  /** Streams that are open or may be opened, for metrics and supervision. */
  get streams(): Iterable<IngesterStream> {
    return this.#streams.values();
  }

  /**
   * The routes now.
   *
   * @throws AppError `unavailable` before the first placement is known.
   */
  current(): Routes {
    const placement = this.#cluster.placement();
    if (placement === undefined) {
      throw new AppError('unavailable', 'the placement of partitions is not known yet; send it again later');
    }
    const peers = this.#cluster.ingesters();
    if (this.#routes !== undefined && placement === this.#placement && samePeers(peers, this.#peers)) {
      return this.#routes;
    }
    this.#placement = placement;
    this.#peers = [...peers];
    this.#routes = this.#build(placement, peers);
    return this.#routes;
  }

  #build(placement: Placement, peers: readonly IngesterPeer[]): Routes {
    const live = new Map(peers.map((peer) => [peer.instance, peer]));
    for (const [instance, stream] of this.#streams) {
      if (live.get(instance)?.client === stream.client) continue;
      this.#streams.delete(instance);
      stream.close(`${instance} left the cluster or came back as another process`);
    }
    const streams: IngesterStream[] = [];
    const indexes = new Map<string, number>();
    const indexOf = (peer: IngesterPeer): number => {
      const { instance } = peer;
      let index = indexes.get(instance);
      if (index === undefined) {
        let stream = this.#streams.get(instance);
        if (stream === undefined) {
          stream = this.#open(peer);
          this.#streams.set(instance, stream);
        }
        index = streams.push(stream) - 1;
        indexes.set(instance, index);
      }
      return index;
    };
    const replicas = placement.replicas.map((owners) =>
      owners.flatMap((instance) => {
        const peer = live.get(instance);
        return peer === undefined ? [] : [indexOf(peer)];
      }),
    );
    return { epoch: placement.epoch, partitionCount: placement.partitionCount, streams, replicas };
  }
}

function samePeers(a: readonly IngesterPeer[], b: readonly IngesterPeer[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i]!.instance !== b[i]!.instance || a[i]!.client !== b[i]!.client) return false;
  }
  return true;
}
