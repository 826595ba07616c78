// The file that says of a block's folder without `chunks` that these are in object storage, and where. Beside `chunks` it means nothing: the
// block is whole then, whatever was begun.
import path from 'node:path';
import { type Disk, replaceFile, tryReadFile } from '../../lib/core/disk.ts';
import {
  MARKER_BYTES_MAX,
  MARKER_FILE,
  parseMarker,
  renderMarker,
} from '../../lib/tsdb/block/evicted-marker.ts';
import { corruptBlock } from '../../lib/tsdb/block/page-codec.ts';

/** Durable when it returns. @param from  `s3://bucket/prefix/` that has the chunks. */
export async function writeMarker(disk: Disk, dir: string, from: string): Promise<void> {
  await replaceFile(disk, dir, MARKER_FILE, Buffer.from(renderMarker(from)));
}

/**
 * Whether the chunks of the block in `dir` are elsewhere. A marker beside chunks is what an eviction left that did not come to its end: it goes.
 *
 * @throws CorruptBlockError when the marker is damaged.
 */
export async function isEvictedFolder(disk: Disk, dir: string): Promise<boolean> {
  const names = await disk.list(dir);
  if (names.includes(`${MARKER_FILE}.tmp`)) await disk.remove(path.join(dir, `${MARKER_FILE}.tmp`));
  if (!names.includes(MARKER_FILE)) return false;
  if (names.includes('chunks')) {
    await disk.remove(path.join(dir, MARKER_FILE));
    return false;
  }
  const where = path.join(dir, MARKER_FILE);
  const bytes = await tryReadFile(disk, where, MARKER_BYTES_MAX);
  if (parseMarker(Buffer.from(bytes ?? []).toString()) === undefined)
    throw corruptBlock(where, 'it does not say where the chunks are');
  return true;
}
