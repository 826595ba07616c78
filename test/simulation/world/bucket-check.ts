// What the bucket of a simulated cluster holds, read as it lies there: whole blocks, and what stores have beyond them.
import { crc32 } from 'node:zlib';
import type { RemovalRight } from '../../../services/lib/objstore/object-store.ts';
import {
  BLOCK_FILE_NAMES,
  type BlockMeta,
  parseBlockMeta,
} from '../../../services/lib/tsdb/block/block-meta.ts';
import type { ChunkSource } from '../../../services/lib/tsdb/block/chunk-source.ts';
import { leavesOf } from '../../../services/lib/tsdb/compact/merge-blocks.ts';
import { parseTombstones } from '../../../services/lib/tsdb/tombstones/tombstone-file.ts';
import { TENANT } from './ledger.ts';
import type { SimBucket } from './sim-bucket.ts';
import type { SimCluster } from './sim-cluster.ts';
import { SimFile } from './sim-disk.ts';
import { SIM_ROOT } from './world.ts';

const META = '/meta.json';

/** A sealed block that a store holds and no whole block of the bucket has, unless deletes left nothing of it; undefined when there is none. */
export function lackOfBucket(cluster: SimCluster, bucket: SimBucket): string | undefined {
  const there = new Set([...wholeBlocks(bucket).flatMap(leafKeys), ...erasedLeaves(cluster)]);
  for (const { host } of cluster.of('store')) {
    const root = `${SIM_ROOT}${host.name}/data/blocks/`;
    for (const [file, content] of host.disk.files()) {
      if (!file.startsWith(root) || !file.endsWith(META)) continue;
      const bytes = Buffer.alloc(content.length);
      content.read(bytes, 0);
      const lacking = leafKeys(parseBlockMeta(bytes.toString(), file)).find((leaf) => !there.has(leaf));
      if (lacking !== undefined) return `the bucket lacks ${lacking}, which is in ${file}`;
    }
  }
  return undefined;
}

/**
 * Judges removals: of the turns of stores only the last one has effect, and no sealed block is without a whole block in the bucket then, unless deletes left
 * nothing of it.
 */
export class RemovalJudge {
  readonly #cluster: SimCluster;
  readonly #bucket: SimBucket;
  readonly #wrong: string[];
  /** In the order of their first effects. */
  readonly #turns: RemovalRight[] = [];
  removals = 0;

  constructor(cluster: SimCluster, bucket: SimBucket, wrong: string[]) {
    this.#cluster = cluster;
    this.#bucket = bucket;
    this.#wrong = wrong;
    bucket.onRemoval = (key, right) => this.#judge(key, right);
  }

  #judge(key: string, right: RemovalRight): void {
    this.removals++;
    const at = `at ${Math.round(this.#cluster.world.nowMs)} ms: ${key}`;
    if (!this.#turns.includes(right)) this.#turns.push(right);
    if (this.#turns.at(-1) !== right)
      this.#wrong.push(`${at}: two removers: an earlier one had effect after a later one`);
    const { bytes } = this.#bucket.objects.get(key)!;
    if (!key.endsWith(META)) return;
    const meta = parseBlockMeta(Buffer.from(bytes).toString(), key);
    const others = wholeBlocks(this.#bucket).filter(({ blockId }) => blockId !== meta.blockId);
    const there = new Set([...others.flatMap(leafKeys), ...erasedLeaves(this.#cluster)]);
    const needed = leafKeys(meta).find((leaf) => !there.has(leaf));
    if (needed !== undefined) this.#wrong.push(`${at}: removed while nothing else has ${needed}`);
  }
}

/** Sealed blocks of which deletes left nothing, as any store's disk has it. */
function erasedLeaves(cluster: SimCluster): string[] {
  return cluster.of('store').flatMap(({ host }) => {
    const file = `${SIM_ROOT}${host.name}/data/tombstones/${TENANT}/tombstones.json`;
    const content = host.disk.find(file);
    if (!(content instanceof SimFile)) return [];
    const bytes = Buffer.alloc(content.length);
    content.read(bytes, 0);
    return parseTombstones(bytes.toString(), file).erased.map(({ blockId }) => `${TENANT}/${blockId}`);
  });
}

/** Blocks with meta.json and files of the sizes and checksums that it says. */
function wholeBlocks({ objects }: SimBucket): BlockMeta[] {
  return [...objects]
    .filter(([key]) => key.endsWith(META))
    .map(([key, { bytes }]) => parseBlockMeta(Buffer.from(bytes).toString(), key))
    .filter(({ tenant, blockId, files }) =>
      BLOCK_FILE_NAMES.every((name) => {
        const found = objects.get(`blocks/${tenant}/${blockId}/${name}`)?.bytes;
        return found?.length === files[name].sizeBytes && crc32(found) === files[name].crc32 >>> 0;
      }),
    );
}

const leafKeys = (meta: BlockMeta): string[] => leavesOf(meta).map((leaf) => `${meta.tenant}/${leaf}`);

/** The chunks of an evicted block. @throws Error when the bucket does not have them. */
export function chunksInBucket({ objects }: SimBucket, { tenant, blockId }: BlockMeta): ChunkSource {
  const bytes = objects.get(`blocks/${tenant}/${blockId}/chunks`)?.bytes;
  if (bytes === undefined) throw new Error(`the chunks of ${blockId} are nowhere`);
  return {
    readsAtOnce: 1,
    read: (into, position) => {
      const piece = bytes.subarray(position, position + into.length);
      into.set(piece);
      return Promise.resolve(piece.length);
    },
    distrust: () => Promise.resolve(false),
    close: () => Promise.resolve(),
  };
}
