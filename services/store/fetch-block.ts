// Answers FetchBlock: a block as PutBlock takes it.
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { AppError, throwIfAborted } from '../lib/core/errors.ts';
import { BLOCK_FILE_NAMES, renderBlockMeta } from '../lib/tsdb/block/block-meta.ts';
import { readBlockPieces } from '../lib/tsdb/block/block-pieces.ts';
import type { FetchBlockRequest, PutBlockRequest } from '../lib/wire/contracts.ts';
import type { BlockCatalog } from './block-catalog.ts';

/**
 * The CRCs of the header are those that the block was made with, so a receiver notices damage on this disk as well.
 *
 * @throws AppError `not_found` when the block is not held, or the signal's reason.
 */
export async function* fetchBlock(
  request: FetchBlockRequest,
  catalog: BlockCatalog,
  signal: AbortSignal,
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
    const { dir, meta } = lease;
    const metaText = Buffer.from(renderBlockMeta(meta));
    const files = [
      { name: 'meta.json', sizeBytes: metaText.length, crc32: crc32(metaText) },
      ...BLOCK_FILE_NAMES.map((name) => ({ name, ...meta.files[name] })),
    ];
    yield { part: { $case: 'header', value: { tenant, blockId, files } } };
    const paths = files.map(({ name, sizeBytes }) => ({ path: path.join(dir, name), sizeBytes }));
    for await (const piece of readBlockPieces(paths)) {
      throwIfAborted(signal);
      yield { part: { $case: 'piece', value: piece } };
    }
  } finally {
    await lease.release();
  }
}
