// What the bucket holds, as this store last saw it: listed now and then, followed at once where this store itself writes. Other parts of the
// store see it as they see another store's inventory.
import { toAppError } from '../../lib/core/errors.ts';
import type { BlockBucket, BlockKey, ListedBlock } from '../../lib/objstore/block-bucket.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { BLOCK_FILE_NAMES, type BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { DoneDelete } from '../../lib/tsdb/tombstones/done-deletes.ts';
import type { LaterDeletes } from '../deletes/later-deletes.ts';
import { OwnInventory } from '../replication/own-inventory.ts';

interface Entry {
  readonly meta: BlockMeta;
  /** Empty: written here since the last listing. */
  readonly metaTag: string;
  readonly deletesTag: string | undefined;
  /** Deletes that had come when it was first seen here. */
  readonly deletesBefore: number;
}

/** Blocks that are believed, at most: a bucket cannot make this process run out of memory. */
const BLOCKS_MAX = 2_000_000;
/** meta.json objects that are read at one time. */
const READS_AT_ONCE = 8;

export class BucketContents {
  readonly #bucket: BlockBucket;
  readonly #logger: Logger;
  readonly #later: LaterDeletes;
  readonly #entries = new Map<string, Entry>();
  readonly #inventory: OwnInventory;
  #leftovers: readonly ListedBlock[] = [];
  #listedAtMs: number | undefined;
  #version = 0;

  constructor(deps: {
    readonly bucket: BlockBucket;
    readonly logger: Logger;
    readonly later: LaterDeletes;
  }) {
    this.#bucket = deps.bucket;
    this.#logger = deps.logger;
    this.#later = deps.later;
    this.#inventory = new OwnInventory({
      list: () => this.list(),
      find: (tenant, blockId) => this.find({ tenant, blockId }),
      erased: () => [],
    });
  }

  /** As another store tells what it holds. */
  get inventory(): OwnInventory {
    return this.#inventory;
  }

  /** Monotonic milliseconds of the last listing that succeeded; undefined before the first. */
  get listedAtMs(): number | undefined {
    return this.#listedAtMs;
  }

  /** Grows whenever what is known of the blocks there changes. */
  get version(): number {
    return this.#version;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Folders that held no whole block at the last listing: uploads and removals under way, and what broke off. */
  get leftovers(): readonly ListedBlock[] {
    return this.#leftovers;
  }

  list(): BlockMeta[] {
    return Array.from(this.#entries.values(), ({ meta }) => meta);
  }

  find(key: BlockKey): BlockMeta | undefined {
    return this.#entries.get(nameOf(key))?.meta;
  }

  /** Of the object with deletes that lay beside the block at the last listing; undefined when there was none. */
  deletesTag(key: BlockKey): string | undefined {
    return this.#entries.get(nameOf(key))?.deletesTag;
  }

  /** Deletes that came after the block was seen there: they concern all of its samples, and may not stand beside it yet. */
  laterDeletes(key: BlockKey): DoneDelete[] {
    const entry = this.#entries.get(nameOf(key));
    return entry === undefined ? [] : this.#later.after(entry.deletesBefore, entry.meta);
  }

  /** Notes what this store wrote. */
  add(meta: BlockMeta): void {
    this.#version++;
    const known = this.#entries.get(nameOf(meta));
    const deletesBefore = known?.deletesBefore ?? this.#later.count;
    this.#entries.set(nameOf(meta), { meta, metaTag: '', deletesTag: known?.deletesTag, deletesBefore });
    this.#inventory.changed(meta);
  }

  /** Notes what this store removed. */
  remove(key: BlockKey): void {
    if (!this.#entries.delete(nameOf(key))) return;
    this.#version++;
    this.#inventory.changed(key);
  }

  /**
   * Lists the bucket, and reads what is new in it. Not while this store writes to it.
   *
   * @param nowMs  Monotonic.
   * @throws AppError when it cannot be listed; what was known stays.
   */
  async refresh(nowMs: number, signal: AbortSignal): Promise<void> {
    const listed: ListedBlock[] = [];
    for await (const block of this.#bucket.list(signal)) {
      listed.push(block);
      if (listed.length > BLOCKS_MAX)
        throw new RangeError(`${this.#bucket.name} holds over ${BLOCKS_MAX} blocks`);
    }
    const whole = listed.filter(({ metaTag }) => metaTag !== undefined);
    const fresh = whole.filter((block) => this.#entries.get(nameOf(block))?.metaTag !== block.metaTag);
    const read = new Map<string, BlockMeta>();
    const work = async (): Promise<void> => {
      for (let next = fresh.pop(); next !== undefined; next = fresh.pop()) {
        const meta = await this.#tryRead(next, signal);
        if (meta !== undefined) read.set(nameOf(next), meta);
      }
    };
    await Promise.all(Array.from({ length: READS_AT_ONCE }, work));
    const broken = this.#replace(whole, read);
    this.#leftovers = [...listed.filter(({ metaTag }) => metaTag === undefined), ...broken];
    this.#listedAtMs = nowMs;
  }

  /** Returns those whose files are not all there: who wrote meta.json was stopped for long before, or who removes the block is at it. */
  #replace(whole: readonly ListedBlock[], read: ReadonlyMap<string, BlockMeta>): ListedBlock[] {
    this.#version++;
    const before = new Map(this.#entries);
    const broken: ListedBlock[] = [];
    this.#entries.clear();
    for (const block of whole) {
      const name = nameOf(block);
      const known = before.get(name);
      const meta = read.get(name) ?? (known?.metaTag === block.metaTag ? known?.meta : undefined);
      if (meta === undefined) continue;
      if (!hasFilesOf(block, meta)) {
        broken.push(block);
        continue;
      }
      const { metaTag = '', deletesTag } = block;
      const deletesBefore = known?.deletesBefore ?? this.#later.count;
      this.#entries.set(name, { meta, metaTag, deletesTag, deletesBefore });
      if (known?.meta !== meta) this.#inventory.changed(meta);
    }
    for (const [name, { meta }] of before) if (!this.#entries.has(name)) this.#inventory.changed(meta);
    return broken;
  }

  /** Undefined for what went meanwhile, and for what is no meta.json of a block: it is as good as not there. */
  async #tryRead(block: ListedBlock, signal: AbortSignal): Promise<BlockMeta | undefined> {
    try {
      return await this.#bucket.readMeta(block, signal);
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code === 'not_found') return undefined;
      if (error.code !== 'bad_data' || signal.aborted) throw error;
      this.#logger.error({ err: error }, 'a block in object storage is left out: its meta.json is damaged');
      return undefined;
    }
  }
}

/** Whether the block's files are there, of the sizes that it says. */
const hasFilesOf = ({ fileBytes }: ListedBlock, { files }: BlockMeta): boolean =>
  BLOCK_FILE_NAMES.every((name) => fileBytes[name] === files[name].sizeBytes);

const nameOf = ({ tenant, blockId }: BlockKey): string => `${tenant}/${blockId}`;
