// Reads all of a block and believes nothing: file checksums, pages, the id, every chunk decoded, every posting compared with
// the series it names. What `tidemark block verify` runs.
import { createReadStream } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { ByteReader } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { decodeLabels } from '../../model/labels.ts';
import { SeriesSamples } from '../chunk/series-samples.ts';
import type { BlockCursor } from './block-cursor.ts';
import { BLOCK_FILE_NAMES, type BlockMeta } from './block-meta.ts';
import { BlockReader, readBlockMeta } from './block-reader.ts';
import { PageCache } from './page-cache.ts';
import { CorruptBlockError, corruptBlock } from './page-codec.ts';
import { WorkPacer } from './work-pacer.ts';

export interface VerifiedBlock {
  readonly meta: BlockMeta;
  /** Label pairs of all series together: as many postings as there are. */
  readonly postings: number;
}

/**
 * Verifies the block in `dir`.
 *
 * @throws CorruptBlockError naming the first thing that is wrong, or the signal's reason.
 */
export async function verifyBlock(dir: string, signal?: AbortSignal): Promise<VerifiedBlock> {
  const reader = await BlockReader.open(dir, { cache: new PageCache({ bytesMax: 8 << 20 }) });
  const pacer = new WorkPacer(signal);
  try {
    for (const name of BLOCK_FILE_NAMES) {
      const crc = await crcOf(path.join(dir, name));
      const stated = reader.meta.files[name].crc32;
      if (crc !== stated)
        throw corruptBlock(path.join(dir, name), `its CRC is ${hex(crc)}, meta.json says ${hex(stated)}`);
    }
    await reader.verifyId(pacer);
    const walked = await walkSeries(reader, dir, pacer);
    const listed = await sumPostings(reader, pacer);
    if (walked.sum !== listed.sum || walked.count !== listed.count) {
      throw corruptBlock(
        path.join(dir, 'index'),
        `its postings name other series than those that have the labels`,
      );
    }
    return { meta: reader.meta, postings: listed.count };
  } catch (caught) {
    // A decoder's error is damage here: the bytes are what was written, and no decoder takes them.
    if (caught instanceof AppError && !(caught instanceof CorruptBlockError) && isDamage(caught))
      throw corruptBlock(dir, caught.message, caught);
    throw caught;
  } finally {
    await reader.close();
  }
}

/**
 * Verifies what an evicted block has on this disk: meta.json, and the bytes of the index.
 *
 * @throws CorruptBlockError naming the first thing that is wrong.
 */
export async function verifyEvictedBlock(dir: string): Promise<BlockMeta> {
  const meta = await readBlockMeta(dir);
  const file = path.join(dir, 'index');
  const crc = await crcOf(file);
  const { crc32: stated } = meta.files.index;
  if (crc !== stated) throw corruptBlock(file, `its CRC is ${hex(crc)}, meta.json says ${hex(stated)}`);
  return meta;
}

const hex = (value: number): string => value.toString(16).padStart(8, '0');
const isDamage = ({ code }: AppError): boolean => code === 'internal' || code === 'bad_data';

async function crcOf(file: string): Promise<number> {
  let crc = 0;
  for await (const piece of createReadStream(file)) crc = crc32(piece as Buffer, crc);
  return crc;
}

/** A sum over (label pair, series id) that does not depend on their order. */
class PairSum {
  sum = 0;
  count = 0;

  add(pair: Uint8Array, id: number): void {
    this.sum = (this.sum + Math.imul(crc32(pair), (2 * id + 1) | 0)) >>> 0;
    this.count++;
  }
}

async function walkSeries(reader: BlockReader, dir: string, pacer: WorkPacer): Promise<PairSum> {
  const { meta } = reader;
  const pairs = new PairSum();
  const samples = new SeriesSamples();
  const where = path.join(dir, 'chunks');
  const cursor = reader.openCursor();
  const partitions = new Set(meta.partitions);
  let series = 0;
  let chunks = 0;
  let total = 0;
  while (cursor.advance()) {
    await cursor.loadChunks(pacer);
    addPairs(pairs, cursor, series);
    if (!partitions.has(cursor.partition))
      throw corruptBlock(
        where,
        `series ${series} is of partition ${cursor.partition}, which meta.json does not name`,
      );
    for (let i = 0; i < cursor.chunks.count; i++) {
      checkChunk(cursor, i, samples, meta, `${where}, chunk ${i} of series ${series}`);
      total += cursor.chunks.sampleCounts[i]!;
    }
    chunks += cursor.chunks.count;
    series++;
    if (pacer.spend(4 + cursor.chunks.count * 20)) await pacer.pause();
  }
  const found = `${series} series, ${chunks} chunks, ${total} samples`;
  const stated = `${meta.seriesCount} series, ${meta.chunkCount} chunks, ${meta.sampleCount} samples`;
  if (found !== stated) throw corruptBlock(where, `${found}; meta.json says ${stated}`);
  return pairs;
}

function addPairs(pairs: PairSum, cursor: BlockCursor, id: number): void {
  const { labelBytes, labelLength } = cursor;
  decodeLabels(labelBytes, 0, labelLength);
  const labels = new ByteReader(labelBytes, 0, labelLength);
  while (labels.remaining > 0) {
    const start = labels.position;
    labels.raw(labels.varint());
    labels.raw(labels.varint());
    pairs.add(labelBytes.subarray(start, labels.position), id);
  }
}

function checkChunk(
  cursor: BlockCursor,
  index: number,
  samples: SeriesSamples,
  meta: BlockMeta,
  where: string,
): void {
  const { chunks } = cursor;
  const minTimeMs = chunks.minTimesMs[index]!;
  const maxTimeMs = chunks.maxTimesMs[index]!;
  if (minTimeMs < meta.minTimeMs || maxTimeMs > meta.maxTimeMs)
    throw corruptBlock(where, `from ${minTimeMs} to ${maxTimeMs}, outside the block`);
  samples.clear();
  cursor.withChunk(index, (bytes, start, end) => {
    samples.addChunk(chunks.encodings[index]!, bytes, start, end);
  });
  const { cells, histograms, floats } = samples;
  if (cells.count > 0 && cells.coarsestMs !== meta.resolutionMs)
    throw corruptBlock(
      where,
      `aggregates of ${cells.coarsestMs} ms, the block's are of ${meta.resolutionMs ?? 0}`,
    );
  const count = floats.count + histograms.count + cells.counts.subarray(0, cells.count).reduce(add, 0);
  if (count !== chunks.sampleCounts[index])
    throw corruptBlock(where, `${count} samples, the index says ${chunks.sampleCounts[index]}`);
  const bounds = samples.timeBounds();
  if (bounds !== undefined && (bounds.minTimeMs !== minTimeMs || bounds.maxTimeMs !== maxTimeMs))
    throw corruptBlock(
      where,
      `samples from ${bounds.minTimeMs} to ${bounds.maxTimeMs}, the index says otherwise`,
    );
}

function add(a: number, b: number): number {
  return a + b;
}

async function sumPostings(reader: BlockReader, pacer: WorkPacer): Promise<PairSum> {
  const listed = new PairSum();
  for (const { pair, ids } of reader.postingLists()) {
    for (const id of ids) listed.add(pair, id);
    if (pacer.spend(2 + ids.length / 20)) await pacer.pause();
  }
  return listed;
}
