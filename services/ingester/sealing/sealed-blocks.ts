// The blocks that a range is sealed into: one, or one for each share of the partitions where there are more stores than copies. Equal
// shares spread evenly over the stores, and replicas that own different partitions still make equal blocks of what they share.
import path from 'node:path';
import { BlockBuilder, type BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';
import type { SealSink } from '../../lib/tsdb/head/head-seal.ts';

export class SealedBlocks implements SealSink {
  readonly #tenant: string;
  readonly #dir: string;
  readonly #shards: number;
  readonly #builders = new Map<number, BlockBuilder>();
  #current: BlockBuilder | undefined;

  /**
   * @param options.dir     Folder for the blocks' files; the caller's.
   * @param options.shards  How many shares of the partitions have a block of their own; 1: one block for all.
   */
  constructor(options: { readonly tenant: string; readonly dir: string; readonly shards: number }) {
    this.#tenant = options.tenant;
    this.#dir = options.dir;
    this.#shards = options.shards;
  }

  addSeries(bytes: Uint8Array, start: number, end: number, partition: number): void {
    const shard = partition % this.#shards;
    let builder = this.#builders.get(shard);
    if (builder === undefined) {
      const dir = this.#shards === 1 ? this.#dir : path.join(this.#dir, String(shard));
      builder = new BlockBuilder({ tenant: this.#tenant, dir });
      this.#builders.set(shard, builder);
    }
    this.#current = builder;
    builder.addSeries(bytes, start, end, partition);
  }

  addChunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    sampleCount: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#current!.addChunk(encoding, minTimeMs, maxTimeMs, sampleCount, bytes, start, end);
  }

  /** The blocks one after another, in the order of their shares; none when there was no series. */
  async *finish(signal: AbortSignal): AsyncGenerator<BuiltBlock> {
    for (const [, builder] of [...this.#builders].sort(([a], [b]) => a - b)) {
      if (builder.seriesCount > 0) yield await builder.finish(signal);
    }
  }

  /** Removes all files. */
  async discard(): Promise<void> {
    for (const builder of this.#builders.values()) await builder.discard();
  }
}
