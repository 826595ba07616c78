// Blocks in an object store, as docs/layout.md draws them: a block is there once its meta.json is, which is written last and removed first.
// What is read is checked against what the block says of itself.
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { AppError } from '../core/errors.ts';
import {
  BLOCK_FILE_NAMES,
  type BlockFileName,
  type BlockMeta,
  META_BYTES_MAX,
  parseBlockMeta,
  renderBlockMeta,
} from '../tsdb/block/block-meta.ts';
import { isBlockId, isTenantName } from '../tsdb/block/block-name.ts';
import { PIECE_BYTES_MAX } from '../tsdb/block/block-pieces.ts';
import {
  parseTombstones,
  renderTombstones,
  TOMBSTONE_BYTES_MAX,
  type Tombstone,
} from '../tsdb/tombstones/tombstone-file.ts';
import type { ObjectStore, RemovalRight } from './object-store.ts';

export interface BlockKey {
  readonly tenant: string;
  readonly blockId: string;
}

/** A folder of the bucket that is named after a block. */
export interface ListedBlock extends BlockKey {
  /** Of meta.json; changes with it. Undefined: an upload under way, or one that broke off. */
  readonly metaTag: string | undefined;
  /** Of deletes.json; undefined when there is none. */
  readonly deletesTag: string | undefined;
  /** Sizes of the block's files that are there. */
  readonly fileBytes: Readonly<Partial<Record<BlockFileName, number>>>;
  /** Of the newest object in it. */
  readonly modifiedMs: number;
}

const FOLDER = 'blocks/';
const META = 'meta.json';
const DELETES = 'deletes.json';
const OWNER = 'cluster.json';
const OWNER_BYTES_MAX = 4096;

export class BlockBucket {
  readonly #store: ObjectStore;

  constructor(deps: { readonly store: ObjectStore }) {
    this.#store = deps.store;
  }

  /** For people. */
  get name(): string {
    return this.#store.name;
  }

  /**
   * Says whose blocks these are, or finds that out. To be asked again now and then: of two clusters that begin at once the later one's
   * word stands, and the other finds it.
   *
   * @param cluster  Its name.
   * @throws AppError `failed_precondition` when they are another cluster's, `bad_data` when the object says nothing that is understood.
   */
  async claim(cluster: string, signal: AbortSignal): Promise<void> {
    const owner = await this.#owner(signal);
    if (owner === undefined) {
      const text = `${JSON.stringify({ version: 1, cluster })}\n`;
      await this.#store.put(OWNER, Buffer.from(text), signal);
    } else if (owner !== cluster)
      throw new AppError(
        'failed_precondition',
        `${this.name} holds blocks of the cluster ${JSON.stringify(owner)}, this one is ${JSON.stringify(cluster)}: give it an --objstore.prefix of its own, ` +
          `or the --cluster.name that the blocks were written with (${OWNER} there says it)`,
      );
  }

  /** Name of the cluster that the blocks belong to; undefined when nobody has said so yet. */
  async #owner(signal: AbortSignal): Promise<string | undefined> {
    let bytes: Uint8Array;
    try {
      bytes = await this.#store.get(OWNER, OWNER_BYTES_MAX, signal);
    } catch (caught) {
      if (caught instanceof AppError && caught.code === 'not_found') return undefined;
      throw caught;
    }
    return ownerOf(Buffer.from(bytes).toString(), `${this.name}${OWNER}`);
  }

  /** All folders of blocks. Other objects are not looked at. */
  async *list(signal: AbortSignal): AsyncGenerator<ListedBlock> {
    let current: ListedBlock | undefined;
    for await (const { key, tag, sizeBytes, modifiedMs } of this.#store.list(FOLDER, signal)) {
      const [, tenant = '', blockId = '', name = '', ...more] = key.split('/');
      if (more.length > 0 || name === '' || !isTenantName(tenant) || !isBlockId(blockId)) continue;
      const isSame = current?.tenant === tenant && current.blockId === blockId;
      if (!isSame && current !== undefined) yield current;
      const before: ListedBlock = isSame
        ? current!
        : { tenant, blockId, metaTag: undefined, deletesTag: undefined, fileBytes: {}, modifiedMs };
      current = {
        ...before,
        metaTag: name === META ? tag : before.metaTag,
        deletesTag: name === DELETES ? tag : before.deletesTag,
        fileBytes: isBlockFile(name) ? { ...before.fileBytes, [name]: sizeBytes } : before.fileBytes,
        modifiedMs: Math.max(modifiedMs, before.modifiedMs),
      };
    }
    if (current !== undefined) yield current;
  }

  /** @throws AppError `not_found`; `bad_data` when it is not a meta.json of that block. */
  async readMeta(key: BlockKey, signal: AbortSignal): Promise<BlockMeta> {
    const where = keyOf(key, META);
    const bytes = await this.#store.get(where, META_BYTES_MAX, signal);
    const meta = parseBlockMeta(Buffer.from(bytes).toString(), `${this.name}${where}`);
    if (meta.tenant !== key.tenant || meta.blockId !== key.blockId)
      throw new AppError(
        'bad_data',
        `${this.name}${where} is of block ${meta.blockId} of tenant ${meta.tenant}`,
      );
    return meta;
  }

  /**
   * Uploads a block: its files, each checked by size and checksum as the store has them afterwards, its pending deletes, and then meta.json, with which
   * it is there. Doing it again does no harm.
   *
   * @param folder  Of the block on this disk.
   */
  async putBlock(
    meta: BlockMeta,
    folder: string,
    deletes: readonly Tombstone[],
    onProgress: (doneBytes: number) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void> {
    let before = 0;
    for (const name of BLOCK_FILE_NAMES) {
      const { sizeBytes, crc32: crc } = meta.files[name];
      const key = keyOf(meta, name);
      const start = before;
      await this.#store.putFile(
        key,
        { path: path.join(folder, name), sizeBytes },
        (done) => onProgress(start + done),
        signal,
      );
      const found = await this.#store.digestOf(key, signal);
      // It stays for the next try to replace: removing it might meet what another store has brought meanwhile.
      if (found.sizeBytes !== sizeBytes || found.crc32 !== crc >>> 0)
        throw new AppError(
          'internal',
          `${this.name}${key} has ${found.sizeBytes} bytes with CRC ${found.crc32} after the upload, the block has ${sizeBytes} with ${crc >>> 0}: its copy on this disk or the upload is damaged`,
        );
      before += sizeBytes;
    }
    await this.putDeletes(meta, deletes, signal);
    await this.putMeta(meta, signal);
  }

  /**
   * Why the files of a block cannot be relied on as they are there now: one is gone, or not of the size or checksum that the block says.
   * Undefined when all is well; what is known of the checksum without reading them is compared.
   */
  async faultOf(meta: BlockMeta, signal: AbortSignal): Promise<string | undefined> {
    for (const name of BLOCK_FILE_NAMES) {
      const { sizeBytes, crc32: crc } = meta.files[name];
      const key = keyOf(meta, name);
      try {
        const found = await this.#store.statOf(key, signal);
        if (found.sizeBytes !== sizeBytes)
          return `${this.name}${key} has ${found.sizeBytes} bytes, not ${sizeBytes}`;
        if (found.crc32 !== undefined && found.crc32 !== crc >>> 0)
          return `${this.name}${key} has the CRC ${found.crc32}, not ${crc >>> 0}`;
      } catch (caught) {
        if (caught instanceof AppError && caught.code === 'not_found') return `${this.name}${key} is gone`;
        throw caught;
      }
    }
    return undefined;
  }

  /** Bytes [start, end) of a block's chunks, with one request. */
  readChunks(key: BlockKey, start: number, end: number, signal: AbortSignal): Promise<Uint8Array> {
    return this.#store.getRange(keyOf(key, 'chunks'), start, end, signal);
  }

  /** Replaces meta.json of a block that is there: it stands for further sealed blocks now. */
  async putMeta(meta: BlockMeta, signal: AbortSignal): Promise<void> {
    await this.#store.put(keyOf(meta, META), Buffer.from(renderBlockMeta(meta)), signal);
  }

  /** Replaces what deletes hide of a block. Where there is such an object it stays, though it says that nothing is hidden any more. */
  async putDeletes(key: BlockKey, deletes: readonly Tombstone[], signal: AbortSignal): Promise<void> {
    const where = keyOf(key, DELETES);
    if (deletes.length === 0 && !(await this.#isThere(where, signal))) return;
    await this.#store.put(where, Buffer.from(renderDeletes(key, deletes)), signal);
  }

  async #isThere(key: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#store.statOf(key, signal);
      return true;
    } catch (caught) {
      if (caught instanceof AppError && caught.code === 'not_found') return false;
      throw caught;
    }
  }

  /** What deletes hide of a block; none when there is no such object. */
  async readDeletes(key: BlockKey, signal: AbortSignal): Promise<readonly Tombstone[]> {
    const where = keyOf(key, DELETES);
    let bytes: Uint8Array;
    try {
      bytes = await this.#store.get(where, TOMBSTONE_BYTES_MAX, signal);
    } catch (caught) {
      if (caught instanceof AppError && caught.code === 'not_found') return [];
      throw caught;
    }
    return parseTombstones(Buffer.from(bytes).toString(), `${this.name}${where}`).tombstones;
  }

  /** Removes a block; what breaks off leaves objects that no longer count. @throws AppError `failed_precondition` when the right is over. */
  async removeBlock(key: BlockKey, right: RemovalRight, signal: AbortSignal): Promise<void> {
    for (const name of [META, DELETES, ...BLOCK_FILE_NAMES])
      await this.#store.remove(keyOf(key, name), right, signal);
  }

  /**
   * Removes what an upload or a removal that broke off has left, if that is still all that is there: it is listed once more right before.
   *
   * @param beforeMs  Only when nothing of it is younger, Unix ms by the bucket's clock.
   * @returns whether it did.
   */
  async removeLeftover(
    key: BlockKey,
    beforeMs: number,
    right: RemovalRight,
    signal: AbortSignal,
  ): Promise<boolean> {
    const names = new Set<string>();
    for await (const { key: name, modifiedMs } of this.#store.list(keyOf(key, ''), signal)) {
      if (modifiedMs >= beforeMs) return false;
      names.add(name);
    }
    const isWhole = [META, ...BLOCK_FILE_NAMES].every((name) => names.has(keyOf(key, name)));
    if (isWhole || names.size === 0) return false;
    await this.removeBlock(key, right, signal);
    return true;
  }

  /**
   * The files of a block, one after another and meta.json first, in pieces as blocks travel.
   *
   * @param skipBytes  Bytes that are left out at the beginning.
   */
  async *readFiles(
    meta: BlockMeta,
    skipBytes: number,
    signal: AbortSignal,
  ): AsyncGenerator<{ readonly file: number; readonly bytes: Uint8Array }> {
    const text = Buffer.from(renderBlockMeta(meta));
    if (skipBytes < text.length) yield* piecesOf(0, text.subarray(skipBytes));
    let before = text.length;
    for (const [i, name] of BLOCK_FILE_NAMES.entries()) {
      const { sizeBytes } = meta.files[name];
      const start = Math.max(0, skipBytes - before);
      before += sizeBytes;
      if (start >= sizeBytes) continue;
      for await (const bytes of this.#store.read(keyOf(meta, name), start, sizeBytes, signal))
        yield* piecesOf(i + 1, bytes);
    }
  }
}

function ownerOf(text: string, where: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new AppError(
      'bad_data',
      `${where} is not JSON: remove it if the blocks beside it are this cluster's`,
      {
        cause,
      },
    );
  }
  const cluster =
    typeof parsed === 'object' && parsed !== null && 'cluster' in parsed ? parsed.cluster : undefined;
  if (typeof cluster === 'string') return cluster;
  throw new AppError(
    'bad_data',
    `${where} names no cluster: remove it if the blocks beside it are this cluster's`,
  );
}

/** Names, sizes and checksums of a block's files in the order in which they travel. */
export function fileDigestsOf(meta: BlockMeta): { name: string; sizeBytes: number; crc32: number }[] {
  const text = Buffer.from(renderBlockMeta(meta));
  const others = BLOCK_FILE_NAMES.map((name) => ({ name, ...meta.files[name] }));
  return [{ name: META, sizeBytes: text.length, crc32: crc32(text) }, ...others];
}

/** The object beside a block: a table of deletes that concern it alone. */
export function renderDeletes({ tenant, blockId }: BlockKey, deletes: readonly Tombstone[]): string {
  const tombstones = deletes
    .map((tombstone) => ({ ...tombstone, blocks: [blockId] }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  return renderTombstones({ tenant, tombstones, erased: [] });
}

function* piecesOf(file: number, bytes: Uint8Array): Generator<{ file: number; bytes: Uint8Array }> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES_MAX)
    yield { file, bytes: bytes.subarray(at, at + PIECE_BYTES_MAX) };
}

const isBlockFile = (name: string): name is BlockFileName =>
  (BLOCK_FILE_NAMES as readonly string[]).includes(name);

const keyOf = ({ tenant, blockId }: BlockKey, name: string): string =>
  `${FOLDER}${tenant}/${blockId}/${name}`;
