// Copies one block from another store. What has arrived stays on the disk, so that a copy that breaks off goes on where it was, also
// after a restart; nothing of it can be seen until all of it is here and was checked.
import path from 'node:path';
import { crc32 } from 'node:zlib';
import type { Clock } from '../../lib/core/clock.ts';
import { type Disk, errorCodeOf, tryReadFile } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';
import { type BlockMeta, META_BYTES_MAX, parseBlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { blockFolder } from '../../lib/tsdb/block/block-name.ts';
import { PIECE_BYTES_MAX } from '../../lib/tsdb/block/block-pieces.ts';
import type { ChunkSource } from '../../lib/tsdb/block/chunk-source.ts';
import type { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import type { Tombstone } from '../../lib/tsdb/tombstones/tombstone-file.ts';
import type { BlockHeader, ListDeletesResponse } from '../../lib/wire/contracts.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { BlockCatalog } from '../blocks/block-catalog.ts';
import type { BlockFolders } from '../blocks/block-folders.ts';
import type { DiskBudget } from '../blocks/disk-budget.ts';
import { fileCrc } from '../blocks/file-crc.ts';
import { checkBlock, checkHeader, MessageReader, readHeader } from '../blocks/put-block.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import { writeMarker } from '../eviction/eviction-marker.ts';
import type { ByteRate } from './byte-rate.ts';
import type { DeleteWitness } from './delete-witnesses.ts';
import type { InventoryBlock } from './inventory-block.ts';
import type { StorePeer } from './peer-inventories.ts';

export interface PullBlockDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly disk: Disk;
  readonly budget: DiskBudget;
  readonly cache: PageCache;
  readonly tombstones: Tombstones;
  readonly clock: Clock;
  readonly rate: ByteRate;
  /** All samples of a block are here already. */
  readonly isSettled: (block: InventoryBlock) => boolean;
  /** The chunks of a block that is taken without them. */
  readonly chunksOf: (meta: BlockMeta) => ChunkSource;
}

/** A block that is taken without its chunks: it is evicted from the beginning. */
export interface WithoutChunks {
  /** As object storage has it, from where it comes. */
  readonly meta: BlockMeta;
  /** It takes the place of blocks that are here, so that its samples are here already. */
  readonly isReplacement: boolean;
}

export interface PullOptions {
  readonly blockBytesMax: number;
  /** Told of the bytes that are here. */
  readonly onProgress: (doneBytes: number) => void;
  /** Default: it is copied whole. */
  readonly withoutChunks?: WithoutChunks | undefined;
  /** Where it comes from object storage: who may know of deletes that are not said there yet. */
  readonly witnesses: readonly DeleteWitness[];
}

/** Files in the order in which they travel. */
const ORDER = ['meta.json', 'index', 'chunks'];

/**
 * Copies the block and adds it to the catalog.
 *
 * @returns Bytes that were received; what was here from an earlier try is not among them.
 * @throws AppError `not_found` when the peer has no such block any more, `bad_data` when it did not arrive whole and sound (nothing of
 *         it is kept then), `unavailable` without room on the disk, or the signal's reason.
 */
export async function pullBlock(
  block: InventoryBlock,
  peer: StorePeer,
  options: PullOptions,
  deps: PullBlockDeps,
  signal: AbortSignal,
): Promise<number> {
  const { folders, disk, budget } = deps;
  const folder = blockFolder(folders.partial, block.tenant, block.blockId);
  await disk.makeFolder(folder);
  const bytes = options.withoutChunks?.meta.files.index.sizeBytes ?? block.bytes;
  // Of an earlier try to copy it whole.
  if (options.withoutChunks !== undefined) await disk.remove(path.join(folder, 'chunks'));
  const had = await bytesHere(folder, disk);
  const giveBack = await budget.reserve(Math.max(0, bytes - had), `a copy of block ${block.blockId}`);
  let received = 0;
  try {
    const receive = (skip: number) => receiveFiles(block, peer, folder, skip, options, deps, signal);
    let outcome = await receive(had);
    if (outcome === undefined) {
      // The peer's files are others than those of the earlier try: the same samples, compressed or cut otherwise.
      await disk.remove(folder);
      await disk.makeFolder(folder);
      outcome = await receive(0);
    }
    if (outcome === undefined) throw new AppError('internal', `block ${block.blockId} differs from itself`);
    received = outcome.received;
    await finish(block, peer, folder, outcome.header, options, deps, signal);
    return received;
  } catch (caught) {
    if (caught instanceof AppError && caught.code === 'bad_data') await disk.remove(folder);
    throw caught;
  } finally {
    giveBack();
  }
}

/** Bytes of an earlier try, file after file; 0 when there was none. */
async function bytesHere(folder: string, disk: Disk): Promise<number> {
  const sizes = await partialSizes(folder, disk);
  return sizes?.done ?? 0;
}

/** Undefined unless meta.json is there, whole: it says how long the others become. */
async function partialSizes(
  folder: string,
  disk: Disk,
): Promise<{ readonly done: number; readonly files: readonly number[] } | undefined> {
  try {
    const bytes = await tryReadFile(disk, path.join(folder, 'meta.json'), META_BYTES_MAX);
    if (bytes === undefined) return undefined;
    const meta = parseBlockMeta(Buffer.from(bytes).toString(), folder);
    const files = [bytes.length, meta.files.index.sizeBytes, meta.files.chunks.sizeBytes];
    let done = bytes.length;
    for (const [i, name] of ['index', 'chunks'].entries()) {
      const size = await sizeOf(path.join(folder, name), disk);
      done += Math.min(size, files[i + 1]!);
      if (size < files[i + 1]!) break;
    }
    return { done, files };
  } catch (caught) {
    if (errorCodeOf(caught) === 'ENOENT' || caught instanceof AppError) return undefined;
    throw caught;
  }
}

async function sizeOf(file: string, disk: Disk): Promise<number> {
  try {
    const handle = await disk.open(file, 'read');
    try {
      return await handle.size();
    } finally {
      await handle.close();
    }
  } catch (caught) {
    if (errorCodeOf(caught) === 'ENOENT') return 0;
    throw caught;
  }
}

/** Appends what is missing to the files; undefined when what is here belongs to other files. */
async function receiveFiles(
  block: InventoryBlock,
  { client }: StorePeer,
  folder: string,
  skipBytes: number,
  { blockBytesMax, onProgress, withoutChunks }: PullOptions,
  deps: PullBlockDeps,
  signal: AbortSignal,
): Promise<{ readonly header: BlockHeader; readonly received: number } | undefined> {
  const { tenant, blockId } = block;
  const { disk, rate } = deps;
  const messages = new MessageReader(client.pullBlock({ tenant, blockId, skipBytes }, { signal }), signal);
  try {
    const header = await readHeader(messages);
    checkHeader(header, { blockBytesMax }, deps.folders);
    if (header.tenant !== tenant || header.blockId !== blockId || !inOrder(header))
      throw new AppError(
        'bad_data',
        `block ${blockId} was asked for, ${header.blockId} came, or out of order`,
      );
    if (skipBytes > 0 && !(await continues(header, folder, disk))) return undefined;
    let at = skipBytes;
    let before = 0;
    for (const [index, file] of header.files.entries()) {
      if (withoutChunks !== undefined && file.name === 'chunks') return { header, received: at - skipBytes };
      const start = Math.max(0, at - before);
      before += file.sizeBytes;
      if (start >= file.sizeBytes && skipBytes > 0) continue;
      const name = path.join(folder, file.name);
      const output = await disk.open(name, start > 0 ? 'write' : 'create');
      try {
        for (let position = start; position < file.sizeBytes; ) {
          const bytes = await nextBytes(messages, index, file.sizeBytes - position, blockId);
          await output.write(bytes, 0, bytes.length, position);
          position += bytes.length;
          at += bytes.length;
          onProgress(at);
          await rate.take(bytes.length, signal);
        }
        await output.sync();
      } finally {
        await output.close();
      }
    }
    if ((await messages.next()) !== undefined)
      throw new AppError('bad_data', `block ${blockId}: pieces go on after the last file`);
    return { header, received: at - skipBytes };
  } finally {
    await messages.close();
  }
}

function inOrder({ files }: BlockHeader): boolean {
  return files.every(({ name }, i) => name === ORDER[i]);
}

/** Whether what is here is the beginning of the header's files. */
async function continues({ files }: BlockHeader, folder: string, disk: Disk): Promise<boolean> {
  const bytes = await tryReadFile(disk, path.join(folder, 'meta.json'), META_BYTES_MAX);
  return (
    bytes !== undefined && bytes.length === files[0]!.sizeBytes && crc32(bytes) === files[0]!.crc32 >>> 0
  );
}

async function nextBytes(
  messages: MessageReader,
  index: number,
  bytesLeft: number,
  blockId: string,
): Promise<Uint8Array> {
  const message = await messages.next();
  if (message === undefined)
    throw new AppError('unavailable', `block ${blockId}: the other store ended ${bytesLeft} bytes early`);
  const { part } = message;
  const length = part?.$case === 'piece' ? part.value.bytes.length : 0;
  if (part?.$case !== 'piece' || part.value.file !== index || length === 0 || length > PIECE_BYTES_MAX)
    throw new AppError('bad_data', `block ${blockId}: a malformed piece of ${length} bytes`);
  if (length > bytesLeft)
    throw new AppError('bad_data', `block ${blockId}: ${length - bytesLeft} bytes too many`);
  return part.value.bytes;
}

/** Checks the files as they are on this disk, and makes the block visible with the deletes that concern it. */
async function finish(
  block: InventoryBlock,
  { client, instance: from }: StorePeer,
  folder: string,
  header: BlockHeader,
  { witnesses, withoutChunks }: PullOptions,
  deps: PullBlockDeps,
  signal: AbortSignal,
): Promise<void> {
  const { catalog, clock, disk, folders, tombstones } = deps;
  const { tenant, blockId } = block;
  const isEvicted = withoutChunks !== undefined;
  for (const { name, crc32: crc } of header.files) {
    if (isEvicted && name === 'chunks') continue;
    const found = await fileCrc(path.join(folder, name), disk);
    if (found !== crc >>> 0)
      throw new AppError('bad_data', `block ${blockId}: ${name} arrived with CRC ${found}, not ${crc >>> 0}`);
  }
  const meta = await checkBlock(folder, header, deps.cache, isEvicted ? deps.chunksOf : undefined);
  if (isEvicted) await writeMarker(disk, folder, from);
  await disk.syncFolder(folder);
  const name = { tenant, blockId };
  const source: DeleteWitness = (each, own) => client.blockDeletes(each, { signal: own });
  const all = [source, ...witnesses];
  const deletes = unitedDeletes(await Promise.all(all.map((ask) => ask(name, signal))), blockId);
  const isNeeded = () => withoutChunks?.isReplacement === true || !deps.isSettled(block);
  const isAdded = await folders.exclusively(async () => {
    if (catalog.has(tenant, blockId) || tombstones.isErased(tenant, blockId) || !isNeeded()) return false;
    for (const tombstone of deletes) await tombstones.add(tenant, tombstone);
    const target = blockFolder(folders.blocks, tenant, blockId);
    await disk.remove(target);
    await folders.move(folder, target);
    catalog.add(meta, clock.nowMs(), isEvicted);
    return true;
  });
  if (!isAdded) {
    await disk.remove(folder);
    return;
  }
  // A delete that reached this store before the block was seen here, and the other store after it was asked.
  const late = unitedDeletes(
    await Promise.all(all.map((ask) => ask(name, signal).catch(() => undefined))),
    blockId,
  );
  const known = new Set(deletes.map(({ id }) => id));
  for (const tombstone of late) {
    if (known.has(tombstone.id)) continue;
    await folders.exclusively(async () => {
      if (catalog.has(tenant, blockId)) await tombstones.add(tenant, tombstone);
    });
  }
}

/** What several stores know of the deletes of a block, each once. */
function unitedDeletes(answers: readonly (ListDeletesResponse | undefined)[], blockId: string): Tombstone[] {
  const all = answers.flatMap((answer) => tombstonesOf(answer, blockId));
  return [...new Map(all.map((tombstone) => [tombstone.id, tombstone])).values()];
}

function tombstonesOf(answer: ListDeletesResponse | undefined, blockId: string): Tombstone[] {
  return (answer?.deletes ?? []).map(({ deleteId, matchers, minTimeMs, maxTimeMs, createdAtMs, actor }) => ({
    ...{ id: deleteId, matchers: fromWireMatchers(matchers), minTimeMs, maxTimeMs, createdAtMs, actor },
    blocks: [blockId],
  }));
}
