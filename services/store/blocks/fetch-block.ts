// Answers FetchBlock and PullBlock: a block as PutBlock takes it, whole or from some byte on.
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import { BLOCK_FILE_NAMES, renderBlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { type BlockPieceBytes, PIECE_BYTES, readBlockPieces } from '../../lib/tsdb/block/block-pieces.ts';
import type { ChunkSource } from '../../lib/tsdb/block/chunk-source.ts';
import { corruptBlock } from '../../lib/tsdb/block/page-codec.ts';
import type { FetchBlockRequest, PutBlockRequest } from '../../lib/wire/contracts.ts';
import type { BlockCatalog, BlockLease } from './block-catalog.ts';

/**
 * The CRCs of the header are those that the block was made with, so a receiver notices damage on this disk as well. So does
 * this store: a file that does not have its CRC any more sets the block aside. Chunks of an evicted block are passed on from object storage.
 *
 * @param skipBytes  Bytes of the files, one after another, that the caller has.
 * @throws AppError `not_found` when the block is not held, `internal` when it is damaged, or the signal's reason.
 */
export async function* fetchBlock(
  request: FetchBlockRequest,
  catalog: BlockCatalog,
  signal: AbortSignal,
  skipBytes = 0,
): AsyncGenerator<PutBlockRequest> {
  const { tenant, blockId } = request;
  const lease = catalog.tryLease(tenant, blockId);
  if (lease === undefined) {
    throw new AppError(
      'not_found',
      `no block ${JSON.stringify(blockId)} of tenant ${JSON.stringify(tenant)}`,
    );
  }
  try {
    yield* sendBlock(lease, skipBytes, signal);
  } catch (caught) {
    throw await lease.examine(caught);
  } finally {
    await lease.release();
  }
}

async function* sendBlock(
  lease: BlockLease,
  skipBytes: number,
  signal: AbortSignal,
): AsyncGenerator<PutBlockRequest> {
  const { dir, meta } = lease;
  const { tenant, blockId } = meta;
  const metaText = Buffer.from(renderBlockMeta(meta));
  const files = [
    { name: 'meta.json', sizeBytes: metaText.length, crc32: crc32(metaText) },
    ...BLOCK_FILE_NAMES.map((name) => ({ name, ...meta.files[name] })),
  ];
  yield { part: { $case: 'header', value: { tenant, blockId, files } } };
  const paths = files.map(({ name, sizeBytes }) => ({ path: path.join(dir, name), sizeBytes }));
  const crcs = files.map(() => ({ crc: 0, bytes: 0 }));
  for await (const piece of lease.isEvicted
    ? evictedPieces(lease, paths, skipBytes, signal)
    : readBlockPieces(paths, skipBytes)) {
    throwIfAborted(signal);
    const sum = crcs[piece.file]!;
    sum.crc = crc32(piece.bytes, sum.crc);
    sum.bytes += piece.bytes.length;
    yield { part: { $case: 'piece', value: piece } };
    const file = files[piece.file]!;
    // Of a file that was sent from its middle nothing is known; the receiver checks it whole.
    if (sum.bytes === file.sizeBytes && sum.crc !== file.crc32 >>> 0)
      throw corruptBlock(paths[piece.file]!.path, 'its CRC is not the one that it was written with');
  }
}

/** As readBlockPieces, with the chunks from where they are. */
async function* evictedPieces(
  lease: BlockLease,
  files: readonly { readonly path: string; readonly sizeBytes: number }[],
  skipBytes: number,
  signal: AbortSignal,
): AsyncGenerator<BlockPieceBytes> {
  const here = files.slice(0, -1);
  const hereBytes = here.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (skipBytes < hereBytes) yield* readBlockPieces(here, skipBytes);
  const source = lease.chunks(signal);
  try {
    yield* chunkPieces(
      source,
      files.length - 1,
      lease.meta.files.chunks.sizeBytes,
      skipBytes - hereBytes,
      signal,
    );
  } finally {
    await source.close();
  }
}

async function* chunkPieces(
  source: ChunkSource,
  file: number,
  sizeBytes: number,
  skipBytes: number,
  signal: AbortSignal,
): AsyncGenerator<BlockPieceBytes> {
  for (let at = Math.max(0, skipBytes); at < sizeBytes; ) {
    const bytes = new Uint8Array(Math.min(PIECE_BYTES, sizeBytes - at));
    await source.read(bytes, at, signal);
    yield { file, bytes };
    at += bytes.length;
  }
}
