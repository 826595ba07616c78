// The blocks that the store holds: which there are, who reads them, and how one goes. A block that is removed while it is
// read leaves the catalog at once and the disk when its last reader is done.
import path from 'node:path';
import { type Disk, replaceFile } from '../../lib/core/disk.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { type BlockMeta, META_BYTES_MAX, renderBlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { blockFolder, isBlockId, isTenantName } from '../../lib/tsdb/block/block-name.ts';
import { BlockReader, readBlockMeta } from '../../lib/tsdb/block/block-reader.ts';
import type { ChunkSource } from '../../lib/tsdb/block/chunk-source.ts';
import { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import { CorruptBlockError } from '../../lib/tsdb/block/page-codec.ts';
import { leavesOf } from '../../lib/tsdb/compact/merge-blocks.ts';
import { isEvictedFolder, writeMarker } from '../eviction/eviction-marker.ts';
import type { BlockFolders } from './block-folders.ts';

/** Bytes of all files of a block. meta.json is small and not counted in its own sizes. */
export function bytesOf(meta: BlockMeta): number {
  return meta.files.index.sizeBytes + meta.files.chunks.sizeBytes;
}

/** A block in use. Release it exactly once, also after an error. */
export interface BlockLease {
  readonly meta: BlockMeta;
  readonly dir: string;
  /** Its chunks are in object storage, not in `dir`. Stays as it is until the release. */
  readonly isEvicted: boolean;
  /** Opens it at first use; a corrupt block is set aside, and the error comes through. */
  reader(): Promise<BlockReader>;
  /**
   * Opens it once more, for the caller to read from front to back and to close, with a cache of its own. A corrupt block is set aside, and the
   * error comes through.
   */
  openAnew(cache: PageCache, signal: AbortSignal): Promise<BlockReader>;
  /** The chunks of an evicted block, to be read from front to back. Close it. */
  chunks(signal: AbortSignal): ChunkSource;
  /** Sets the block aside when `caught` says that it is corrupt. Returns the error to throw. */
  examine(caught: unknown): Promise<unknown>;
  release(): Promise<void>;
}

/** A block that was set aside. What is unknown of it is undefined. */
export interface QuarantinedBlock {
  readonly tenant: string;
  readonly blockId: string;
  readonly meta: BlockMeta | undefined;
}

/** A block of a tenant and since when it is here. */
export interface HeldBlock {
  readonly meta: BlockMeta;
  /** Unix ms; the far past for blocks that were here at start, and those that were made here. */
  readonly arrivedMs: number;
}

/** A block, where its chunks are, and when somebody asked for its samples or labels. */
export interface ResidentBlock {
  readonly meta: BlockMeta;
  readonly isEvicted: boolean;
  /** Monotonic ms; 0: not since the start. */
  readonly usedAtMs: number;
}

/** The chunks of evicted blocks. */
export interface EvictedSource {
  /** For queries: what is fetched is kept for a while. */
  open(meta: BlockMeta): ChunkSource;
  /** For one walk from front to back. */
  openScan(meta: BlockMeta, signal: AbortSignal): ChunkSource;
}

/** Of blocks that nobody waits to be completed. */
export const LONG_AGO_MS = Number.NEGATIVE_INFINITY;

interface Entry {
  meta: BlockMeta;
  readonly dir: string;
  readonly arrivedMs: number;
  /** Invariant: changes only while nobody uses the block. */
  isEvicted: boolean;
  usedAtMs: number;
  opened: Promise<BlockReader> | undefined;
  users: number;
  /** Left the catalog: what to do with the folder once nobody reads it. */
  farewell: ((entry: Entry) => Promise<void>) | undefined;
}

export class BlockCatalog {
  readonly #folders: BlockFolders;
  readonly #disk: Disk;
  readonly #cache: PageCache;
  readonly #chunkCache: PageCache;
  readonly #logger: Logger;
  readonly #openBlocksMax: number;
  readonly #onCorrupt: () => void;
  readonly #holdsAll: (meta: BlockMeta) => boolean;
  readonly #onChange: (meta: BlockMeta, isHeld: boolean) => void;
  readonly #onGone: (meta: BlockMeta) => void;
  readonly #onEvictedCorrupt: (meta: BlockMeta) => void;
  readonly #evicted: EvictedSource;
  readonly #monotonicMs: () => number;
  /** By `<tenant>/<id>`. */
  readonly #entries = new Map<string, Entry>();
  /** Opened entries that nobody reads, least recently used first. */
  readonly #idle = new Set<Entry>();
  readonly #quarantined = new Map<string, QuarantinedBlock>();
  /** `<tenant>/<id>` of sealed blocks whose samples stand in merged ones: how many of these there are. */
  readonly #contained = new Map<string, number>();
  #bytes = 0;

  constructor(
    options: {
      readonly openBlocksMax: number;
      /** Expanded chunk pages that are kept for further selects. */
      readonly chunkCacheBytes: number;
    },
    deps: {
      readonly folders: BlockFolders;
      readonly disk: Disk;
      readonly cache: PageCache;
      readonly logger: Logger;
      readonly onCorrupt: () => void;
      /** Of a block set aside: all of its samples are here again, in whatever blocks. Default: never. */
      readonly holdsAll?: (meta: BlockMeta) => boolean;
      /** Told of each block that comes or goes, at that moment. */
      readonly onChange?: (meta: BlockMeta, isHeld: boolean) => void;
      /** Told of an evicted block that left the catalog. */
      readonly onEvictedGone: (meta: BlockMeta) => void;
      /** Told of an evicted block whose chunks, as object storage gave them, are damaged. */
      readonly onEvictedCorrupt: (meta: BlockMeta) => void;
      readonly evicted: EvictedSource;
      readonly monotonicMs: () => number;
    },
  ) {
    this.#openBlocksMax = options.openBlocksMax;
    this.#folders = deps.folders;
    this.#disk = deps.disk;
    this.#cache = deps.cache;
    this.#chunkCache = new PageCache({ bytesMax: options.chunkCacheBytes });
    this.#logger = deps.logger;
    this.#onCorrupt = deps.onCorrupt;
    this.#holdsAll = deps.holdsAll ?? (() => false);
    this.#onChange = deps.onChange ?? (() => undefined);
    this.#onGone = deps.onEvictedGone;
    this.#onEvictedCorrupt = deps.onEvictedCorrupt;
    this.#evicted = deps.evicted;
    this.#monotonicMs = deps.monotonicMs;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What of chunks is kept in memory. */
  get chunkCache(): Pick<PageCache, 'bytesHeld' | 'hits' | 'misses'> {
    return this.#chunkCache;
  }

  /** Bytes of all blocks. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Blocks of all tenants that were set aside and whose samples are not here again. */
  get quarantinedCount(): number {
    return this.quarantined().length;
  }

  /** Blocks of all tenants that were set aside, as they were found, and whose samples are not here again. */
  quarantined(): QuarantinedBlock[] {
    return [...this.#quarantined.values()].filter(({ meta }) => meta === undefined || !this.#holdsAll(meta));
  }

  /** Those of one tenant. */
  quarantinedOf(tenant: string): QuarantinedBlock[] {
    return this.quarantined().filter((block) => block.tenant === tenant);
  }

  /** A block set aside of which nothing is known is not missing any more: all that others hold is here. Its folder stays. */
  settleQuarantined({ tenant, blockId }: QuarantinedBlock): void {
    this.#quarantined.delete(keyOf(tenant, blockId));
  }

  /**
   * Blocks set aside go with retention by age as all others do: what is older is not missing.
   *
   * @returns  How many went.
   */
  async deleteQuarantined(beforeMs: number): Promise<number> {
    let deleted = 0;
    for (const [key, block] of [...this.#quarantined]) {
      if (block.meta === undefined || block.meta.maxTimeMs >= beforeMs) continue;
      await this.#folders.exclusively(async () => {
        if (this.#quarantined.get(key) !== block) return;
        await this.#disk.remove(blockFolder(this.#folders.quarantine, block.tenant, block.blockId));
        this.#quarantined.delete(key);
        deleted++;
      });
    }
    return deleted;
  }

  /** Blocks of one tenant or (empty) of all, oldest first. */
  list(tenant = ''): BlockMeta[] {
    const metas: BlockMeta[] = [];
    for (const { meta } of this.#entries.values())
      if (tenant === '' || meta.tenant === tenant) metas.push(meta);
    return metas.sort(compareByTime);
  }

  has(tenant: string, blockId: string): boolean {
    return this.#entries.has(keyOf(tenant, blockId));
  }

  /** True when all samples of the block are here: as that block, or in one that was merged from it. */
  contains(tenant: string, blockId: string): boolean {
    const key = keyOf(tenant, blockId);
    return this.#entries.has(key) || this.#contained.has(key);
  }

  find(tenant: string, blockId: string): BlockMeta | undefined {
    return this.#entries.get(keyOf(tenant, blockId))?.meta;
  }

  isQuarantined(tenant: string, blockId: string): boolean {
    return this.#quarantined.has(keyOf(tenant, blockId));
  }

  /** Blocks of one tenant, in no order. */
  heldOf(tenant: string): HeldBlock[] {
    return [...this.#entries.values()].filter(({ meta }) => meta.tenant === tenant);
  }

  /** All blocks with where their chunks are, in no order. */
  residents(): readonly ResidentBlock[] {
    return [...this.#entries.values()];
  }

  isEvicted({ tenant, blockId }: { readonly tenant: string; readonly blockId: string }): boolean {
    return this.#entries.get(keyOf(tenant, blockId))?.isEvicted ?? false;
  }

  /** Tenants that have blocks. */
  tenants(): string[] {
    return [...new Set(Array.from(this.#entries.values(), ({ meta }) => meta.tenant))];
  }

  /** Finds the blocks on disk. What is corrupt is set aside, what is no block is left alone with a line in the log. */
  async load(): Promise<void> {
    await this.#loadQuarantine();
    for (const tenant of await this.#disk.list(this.#folders.blocks)) {
      if (!isTenantName(tenant)) {
        this.#logger.warn(
          { folder: path.join(this.#folders.blocks, tenant) },
          'no tenant: folder left alone',
        );
        continue;
      }
      for (const blockId of await this.#disk.list(path.join(this.#folders.blocks, tenant))) {
        if (isBlockId(blockId)) await this.#loadBlock(tenant, blockId);
        else this.#logger.warn({ tenant, folder: blockId }, 'no block: folder left alone');
      }
    }
  }

  /** Takes a block that was moved to its place; `isEvicted`: without its chunks, and with a marker. */
  add(meta: BlockMeta, arrivedMs: number, isEvicted = false): void {
    const dir = blockFolder(this.#folders.blocks, meta.tenant, meta.blockId);
    this.#entries.set(keyOf(meta.tenant, meta.blockId), {
      meta,
      dir,
      arrivedMs,
      isEvicted,
      usedAtMs: arrivedMs === LONG_AGO_MS ? 0 : this.#monotonicMs(),
      opened: undefined,
      users: 0,
      farewell: undefined,
    });
    this.#bytes += bytesOf(meta);
    this.#countContained(meta, 1);
    this.#onChange(meta, true);
    this.#quarantined.delete(keyOf(meta.tenant, meta.blockId));
  }

  /**
   * Lets the chunks of a block leave the disk, unless somebody uses the block. Whoever asks has made sure that they are elsewhere. A crash leaves the
   * block whole, or evicted: the marker is durable before the file goes.
   *
   * @param from  Where they are.
   */
  evict(tenant: string, blockId: string, from: string): Promise<boolean> {
    return this.#folders.exclusively(async () => {
      const entry = this.#entries.get(keyOf(tenant, blockId));
      if (entry === undefined || entry.isEvicted || entry.users > 0) return false;
      await writeMarker(this.#disk, entry.dir, from);
      if (this.#entries.get(keyOf(tenant, blockId)) !== entry || entry.users > 0) return false;
      entry.isEvicted = true;
      this.#idle.delete(entry);
      await this.#closeReader(entry);
      await this.#disk.remove(path.join(entry.dir, 'chunks'));
      await this.#disk.syncFolder(entry.dir);
      return true;
    });
  }

  /**
   * Puts a merged block in the place of its sources, at once for all that begins afterwards. What reads the sources goes on.
   *
   * @param meta  Undefined when nothing was left of them.
   * @returns The end of the sources: await it outside of `BlockFolders.exclusively`.
   */
  replace(meta: BlockMeta | undefined, sources: readonly BlockMeta[]): () => Promise<void> {
    if (meta !== undefined) this.add(meta, LONG_AGO_MS);
    const gone = sources.map(({ tenant, blockId }) => this.#beginDelete(tenant, blockId));
    return async () => {
      for (const entry of gone) if (entry !== undefined) await this.#leaveIfUnused(entry);
    };
  }

  /**
   * Notes that a block that is here holds the samples of further sealed blocks: equal samples have an equal id, whatever they were merged
   * from. Await it inside of `BlockFolders.exclusively`.
   *
   * @param leaves  Ids of sealed blocks.
   */
  async adopt(tenant: string, blockId: string, leaves: readonly string[]): Promise<void> {
    const entry = this.#entries.get(keyOf(tenant, blockId));
    if (entry === undefined) return;
    const sources = [...new Set([...leavesOf(entry.meta), ...leaves])].sort();
    if (sources.length === leavesOf(entry.meta).length) return;
    const meta = { ...entry.meta, level: Math.max(2, entry.meta.level), sources };
    const text = Buffer.from(renderBlockMeta(meta));
    if (text.length > META_BYTES_MAX)
      throw new AppError('resource_exhausted', `block ${blockId} stands for ${sources.length} sealed blocks`);
    await replaceFile(this.#disk, entry.dir, 'meta.json', text);
    if (this.#entries.get(keyOf(tenant, blockId)) !== entry) return;
    this.#countContained(entry.meta, -1);
    this.#onChange(entry.meta, false);
    entry.meta = meta;
    this.#countContained(meta, 1);
    this.#onChange(meta, true);
  }

  #countContained({ tenant, sources, resolutionMs }: BlockMeta, by: 1 | -1): void {
    // Aggregates are no samples.
    if (resolutionMs !== undefined) return;
    for (const source of sources) {
      const key = keyOf(tenant, source);
      const count = (this.#contained.get(key) ?? 0) + by;
      if (count === 0) this.#contained.delete(key);
      else this.#contained.set(key, count);
    }
  }

  /** Holds a block until `release`; undefined when it is not there. */
  tryLease(tenant: string, blockId: string): BlockLease | undefined {
    const entry = this.#entries.get(keyOf(tenant, blockId));
    if (entry === undefined) return undefined;
    entry.users++;
    this.#idle.delete(entry);
    const examine = (caught: unknown) => this.#examine(entry, caught);
    const { isEvicted } = entry;
    return {
      meta: entry.meta,
      dir: entry.dir,
      isEvicted,
      examine,
      chunks: (signal) => this.#evicted.openScan(entry.meta, signal),
      openAnew: async (cache, signal) => {
        const chunksOf = isEvicted ? (meta: BlockMeta) => this.#evicted.openScan(meta, signal) : undefined;
        try {
          return await BlockReader.open(entry.dir, { cache, chunksOf });
        } catch (caught) {
          throw await examine(caught);
        }
      },
      reader: async () => {
        entry.usedAtMs = this.#monotonicMs();
        const chunksOf = isEvicted ? (meta: BlockMeta) => this.#evicted.open(meta) : undefined;
        try {
          entry.opened ??= BlockReader.open(entry.dir, {
            cache: this.#cache,
            // What left the disk has a cache there, which must see what is used.
            chunkCache: isEvicted ? undefined : this.#chunkCache,
            chunksOf,
          });
          return await entry.opened;
        } catch (caught) {
          entry.opened = undefined;
          throw await examine(caught);
        }
      },
      release: () => this.#release(entry),
    };
  }

  /** Deletes a block: from the catalog now, from the disk when nobody reads it. */
  async delete(tenant: string, blockId: string): Promise<void> {
    const entry = this.#beginDelete(tenant, blockId);
    if (entry !== undefined) await this.#leaveIfUnused(entry);
  }

  #beginDelete(tenant: string, blockId: string): Entry | undefined {
    const entry = this.#take(tenant, blockId);
    if (entry === undefined) return undefined;
    entry.farewell = ({ dir }) =>
      this.#folders.exclusively(async () => {
        // Put again in the meantime: then the folder is the new block's.
        if (!this.has(tenant, blockId)) await this.#folders.remove(dir);
      });
    return entry;
  }

  /** Closes the files of all blocks. Whoever still holds a lease must not read any more: its call was cancelled. */
  async close(): Promise<void> {
    for (const entry of this.#entries.values()) await this.#closeReader(entry);
    this.#idle.clear();
  }

  async #release(entry: Entry): Promise<void> {
    entry.users--;
    if (entry.farewell !== undefined) {
      await this.#leaveIfUnused(entry);
      return;
    }
    if (entry.users > 0 || entry.opened === undefined) return;
    this.#idle.add(entry);
    for (const oldest of this.#idle) {
      if (this.#idle.size <= this.#openBlocksMax) break;
      this.#idle.delete(oldest);
      await this.#closeReader(oldest);
    }
  }

  #take(tenant: string, blockId: string): Entry | undefined {
    const key = keyOf(tenant, blockId);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#idle.delete(entry);
    this.#bytes -= bytesOf(entry.meta);
    this.#countContained(entry.meta, -1);
    this.#onChange(entry.meta, false);
    if (entry.isEvicted) this.#onGone(entry.meta);
    return entry;
  }

  async #leaveIfUnused(entry: Entry): Promise<void> {
    if (entry.users > 0 || entry.farewell === undefined) return;
    const { farewell } = entry;
    entry.farewell = undefined;
    await this.#closeReader(entry);
    await farewell(entry);
  }

  async #closeReader(entry: Entry): Promise<void> {
    const { opened } = entry;
    entry.opened = undefined;
    if (opened !== undefined) await (await opened).close();
  }

  /** A corrupt block leaves the catalog, and its folder goes to quarantine, before the query that met it fails. */
  async #examine(entry: Entry, caught: unknown): Promise<unknown> {
    if (!(caught instanceof CorruptBlockError)) return caught;
    const { tenant, blockId } = entry.meta;
    if (this.#entries.get(keyOf(tenant, blockId)) !== entry) return caught;
    this.#take(tenant, blockId);
    if (entry.isEvicted) this.#onEvictedCorrupt(entry.meta);
    entry.farewell = () => Promise.resolve();
    await this.#setAside(tenant, blockId, entry.meta, caught);
    return caught;
  }

  async #loadBlock(tenant: string, blockId: string): Promise<void> {
    const dir = blockFolder(this.#folders.blocks, tenant, blockId);
    let meta: BlockMeta | undefined;
    try {
      const isEvicted = await isEvictedFolder(this.#disk, dir);
      const chunksOf = isEvicted ? (known: BlockMeta) => this.#evicted.open(known) : undefined;
      const reader = await BlockReader.open(dir, { cache: this.#cache, chunksOf });
      meta = reader.meta;
      await reader.close();
      if (meta.tenant !== tenant || meta.blockId !== blockId) {
        throw new CorruptBlockError(`${dir} holds block ${meta.blockId} of tenant ${meta.tenant}`);
      }
      this.add(meta, LONG_AGO_MS, isEvicted);
    } catch (caught) {
      if (!(caught instanceof CorruptBlockError)) throw caught;
      await this.#setAside(tenant, blockId, meta, caught);
    }
  }

  async #setAside(
    tenant: string,
    blockId: string,
    meta: BlockMeta | undefined,
    cause: CorruptBlockError,
  ): Promise<void> {
    const from = blockFolder(this.#folders.blocks, tenant, blockId);
    const to = blockFolder(this.#folders.quarantine, tenant, blockId);
    this.#quarantined.set(keyOf(tenant, blockId), { tenant, blockId, meta });
    this.#onCorrupt();
    try {
      await this.#folders.exclusively(async () => {
        if (this.has(tenant, blockId)) return;
        await this.#disk.remove(to);
        await this.#folders.move(from, to);
      });
      this.#logger.error({ tenant, blockId, folder: to, err: cause }, 'corrupt block set aside');
    } catch (caught) {
      // It is out of the catalog whatever the disk says; at the next start it is found again.
      this.#logger.error(
        { tenant, blockId, folder: from, err: toAppError(caught) },
        'corrupt block stays in place',
      );
    }
  }

  /** Blocks set aside earlier count as missing until somebody removes or replaces them. */
  async #loadQuarantine(): Promise<void> {
    for (const tenant of await this.#disk.list(this.#folders.quarantine)) {
      if (!isTenantName(tenant)) continue;
      for (const blockId of await this.#disk.list(path.join(this.#folders.quarantine, tenant))) {
        if (!isBlockId(blockId)) continue;
        const dir = blockFolder(this.#folders.quarantine, tenant, blockId);
        const meta = await readBlockMeta(dir).catch(() => undefined);
        this.#quarantined.set(keyOf(tenant, blockId), { tenant, blockId, meta });
      }
    }
  }
}

function keyOf(tenant: string, blockId: string): string {
  return `${tenant}/${blockId}`;
}

/** Oldest first; ties by id, so that every store lists alike. */
function compareByTime(a: BlockMeta, b: BlockMeta): number {
  return a.minTimeMs - b.minTimeMs || a.maxTimeMs - b.maxTimeMs || (a.blockId < b.blockId ? -1 : 1);
}
