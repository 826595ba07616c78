// Takes one block off a stream: into a folder of its own, checked piece by piece, made durable, then moved to its place by
// one rename. Until that rename nothing of it can be seen; after a crash nothing of it is left.
import path from 'node:path';
import { crc32 } from 'node:zlib';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import { failpoint } from '../../lib/core/failpoint.ts';
import { BLOCK_FILE_NAMES, type BlockMeta, META_BYTES_MAX } from '../../lib/tsdb/block/block-meta.ts';
import { blockFolder } from '../../lib/tsdb/block/block-name.ts';
import { PIECE_BYTES_MAX } from '../../lib/tsdb/block/block-pieces.ts';
import { BlockReader } from '../../lib/tsdb/block/block-reader.ts';
import type { ChunkSource } from '../../lib/tsdb/block/chunk-source.ts';
import type { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import { CorruptBlockError } from '../../lib/tsdb/block/page-codec.ts';
import type { BlockFile, BlockHeader, BlockPiece, PutBlockRequest } from '../../lib/wire/contracts.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import type { BlockCatalog } from './block-catalog.ts';
import type { BlockFolders } from './block-folders.ts';
import type { DiskBudget } from './disk-budget.ts';
import type { PublishFence } from './publish-fence.ts';

const EXPECTED_NAMES = ['meta.json', ...BLOCK_FILE_NAMES];

export interface PutBlockOptions {
  readonly blockBytesMax: number;
}

export interface PutBlockDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly disk: Disk;
  readonly budget: DiskBudget;
  readonly cache: PageCache;
  readonly tombstones: Tombstones;
  readonly clock: Clock;
  readonly fence: PublishFence;
}

/**
 * Takes the block and adds it to the catalog.
 *
 * @returns True when it was there before; the rest of the stream is then not read.
 * @throws AppError `bad_data` when the stream is not what its header says, `resource_exhausted` when the block is too
 *         large, `unavailable` when the disk has no room, `failed_precondition` when the sender goes by an outdated placement, or the
 *         signal's reason. Nothing stays behind.
 */
export async function putBlock(
  stream: AsyncIterable<PutBlockRequest>,
  options: PutBlockOptions,
  deps: PutBlockDeps,
  signal: AbortSignal,
): Promise<boolean> {
  const messages = new MessageReader(stream, signal);
  try {
    const header = await readHeader(messages);
    const target = checkHeader(header, options, deps.folders);
    if (isHeld(header, deps)) return true;
    deps.fence.check(header.epoch);
    const giveBack = await deps.budget.reserve(totalBytes(header), `block ${header.blockId}`);
    try {
      return await receiveBlock(messages, header, target, deps);
    } finally {
      giveBack();
    }
  } finally {
    await messages.close();
  }
}

/** True when its samples are here, perhaps merged with others, or were deleted whole. */
function isHeld(
  { tenant, blockId }: { readonly tenant: string; readonly blockId: string },
  { catalog, tombstones }: PutBlockDeps,
): boolean {
  return catalog.contains(tenant, blockId) || tombstones.isErased(tenant, blockId);
}

async function receiveBlock(
  messages: MessageReader,
  header: BlockHeader,
  target: string,
  deps: PutBlockDeps,
): Promise<boolean> {
  const folder = deps.folders.newTransit(header.blockId);
  try {
    await deps.disk.makeFolder(folder);
    for (const [index, file] of header.files.entries()) {
      await receiveFile(messages, index, file, path.join(folder, file.name), deps.disk);
    }
    if ((await messages.next()) !== undefined)
      throw new AppError('bad_data', 'pieces go on after the last file');
    const meta = await checkBlock(folder, header, deps.cache);
    await deps.disk.syncFolder(folder);
    return await publish(folder, target, meta, header.epoch, deps);
  } finally {
    await deps.disk.remove(folder);
  }
}

/** Messages of a stream one by one; a call that is cancelled ends at once, whatever the sender does. */
export class MessageReader {
  readonly #messages: AsyncIterator<PutBlockRequest>;
  readonly #signal: AbortSignal;

  constructor(stream: AsyncIterable<PutBlockRequest>, signal: AbortSignal) {
    this.#messages = stream[Symbol.asyncIterator]();
    this.#signal = signal;
  }

  /** Undefined at the end. */
  async next(): Promise<PutBlockRequest | undefined> {
    const signal = this.#signal;
    throwIfAborted(signal);
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(toAppError(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const message = await Promise.race([this.#messages.next(), aborted.promise]);
      return message.done ? undefined : message.value;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Tells the sender that nothing more is read. After a cancellation it may be stuck, and is not waited for. */
  async close(): Promise<void> {
    const closed = Promise.resolve(this.#messages.return?.()).catch(() => undefined);
    if (!this.#signal.aborted) await closed;
  }
}

export async function readHeader(messages: MessageReader): Promise<BlockHeader> {
  const first = await messages.next();
  if (first?.part?.$case !== 'header') {
    throw new AppError('bad_data', 'the first message of a block is not its header');
  }
  return first.part.value;
}

/** Checks names and sizes before anything is touched; returns the block's place. */
export function checkHeader(header: BlockHeader, options: PutBlockOptions, folders: BlockFolders): string {
  const target = blockFolder(folders.blocks, header.tenant, header.blockId);
  const names = header.files.map(({ name }) => name).sort();
  if (names.join() !== [...EXPECTED_NAMES].sort().join()) {
    throw new AppError(
      'bad_data',
      `a block has the files ${EXPECTED_NAMES.join(', ')}, not ${JSON.stringify(names.slice(0, 8))}`,
    );
  }
  for (const { name, sizeBytes } of header.files) {
    const most = name === 'meta.json' ? META_BYTES_MAX : options.blockBytesMax;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > most) {
      throw new AppError(
        'resource_exhausted',
        `block ${header.blockId}: ${name} of ${sizeBytes} bytes, limit ${most}`,
      );
    }
  }
  const total = totalBytes(header);
  if (total > options.blockBytesMax) {
    throw new AppError(
      'resource_exhausted',
      `block ${header.blockId} has ${total} bytes, the limit is ${options.blockBytesMax}`,
    );
  }
  return target;
}

function totalBytes(header: BlockHeader): number {
  return header.files.reduce((sum, file) => sum + file.sizeBytes, 0);
}

/** Writes the pieces of one file and syncs it. */
async function receiveFile(
  messages: MessageReader,
  index: number,
  file: BlockFile,
  target: string,
  disk: Disk,
): Promise<void> {
  const output = await disk.open(target, 'create');
  failpoint('block-write-before');
  try {
    let crc = 0;
    for (let at = 0; at < file.sizeBytes; ) {
      const bytes = await nextPiece(messages, index, file, file.sizeBytes - at);
      crc = crc32(bytes, crc);
      await output.write(bytes, 0, bytes.length, at);
      at += bytes.length;
    }
    if (crc !== file.crc32 >>> 0) {
      throw new AppError(
        'bad_data',
        `${file.name} arrived with CRC ${crc.toString(16)}, announced was ${(file.crc32 >>> 0).toString(16)}; send the block again`,
      );
    }
    failpoint('block-sync-before');
    await output.sync();
  } finally {
    await output.close();
  }
}

async function nextPiece(
  messages: MessageReader,
  index: number,
  file: BlockFile,
  bytesLeft: number,
): Promise<Uint8Array> {
  const message = await messages.next();
  if (message === undefined)
    throw new AppError('bad_data', `the stream ended ${bytesLeft} bytes before the end of ${file.name}`);
  const { part } = message;
  if (part?.$case !== 'piece') throw new AppError('bad_data', 'a second header, or an empty message');
  const piece: BlockPiece = part.value;
  const { length } = piece.bytes;
  if (piece.file !== index || length === 0 || length > Math.min(PIECE_BYTES_MAX, bytesLeft)) {
    throw new AppError(
      'bad_data',
      `a piece of ${length} bytes of file ${piece.file}; expected 1 … ${Math.min(PIECE_BYTES_MAX, bytesLeft)} of file ${index}, ${file.name}`,
    );
  }
  return piece.bytes;
}

/** The block opens, and is the one that the header named. `chunksOf`: where they are, when they are not in the folder. */
export async function checkBlock(
  folder: string,
  header: BlockHeader,
  cache: PageCache,
  chunksOf?: (meta: BlockMeta) => ChunkSource,
): Promise<BlockMeta> {
  let meta: BlockMeta;
  try {
    const reader = await BlockReader.open(folder, { cache, chunksOf });
    meta = reader.meta;
    await reader.close();
  } catch (cause) {
    if (!(cause instanceof CorruptBlockError)) throw cause;
    throw new AppError('bad_data', `block ${header.blockId} does not open: ${cause.message}`, { cause });
  }
  const digests = header.files.every(
    ({ name, crc32: crc }) => name === 'meta.json' || meta.files[name as 'index'].crc32 === crc >>> 0,
  );
  if (meta.tenant !== header.tenant || meta.blockId !== header.blockId || !digests) {
    throw new AppError(
      'bad_data',
      `the header names block ${header.blockId} of tenant ${header.tenant}, meta.json is of block ${meta.blockId} of tenant ${meta.tenant}`,
    );
  }
  return meta;
}

/** Makes the block visible; true when another put of the same block came first. */
async function publish(
  folder: string,
  target: string,
  meta: BlockMeta,
  epoch: number | undefined,
  deps: PutBlockDeps,
): Promise<boolean> {
  const { catalog, disk, folders } = deps;
  return deps.folders.exclusively(async () => {
    if (isHeld(meta, deps)) return true;
    // It may have come slowly.
    deps.fence.check(epoch);
    // A folder that the catalog does not know is what a failed move left.
    await disk.remove(target);
    await folders.move(folder, target);
    failpoint('block-announce-before');
    catalog.add(meta, deps.clock.nowMs());
    failpoint('block-announce-after');
    await disk.remove(blockFolder(folders.quarantine, meta.tenant, meta.blockId));
    return false;
  });
}
