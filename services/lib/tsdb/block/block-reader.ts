// An open block: its files, its label tables, and selects over it. Opening reads meta.json and the directory; everything
// else is read when it is asked for, page by page, each checked by its CRC before a byte of it is believed.
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { ByteReader, ByteWriter, decodeUtf8 } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import type { ChunkSink } from '../../model/chunk-sink.ts';
import type { Matcher } from '../../model/matcher.ts';
import { selectPostingsInSteps } from '../postings/select-postings.ts';
import { coversAll, type DeletionMask } from '../tombstones/deletion.ts';
import { BlockCursor } from './block-cursor.ts';
import { type BlockDirectory, locateDirectory, readDirectory } from './block-directory.ts';
import {
  CHUNKS_MAGIC,
  FILE_HEADER_BYTES,
  FILE_VERSION,
  GROUP_SIZE,
  INDEX_FOOTER_BYTES,
  INDEX_MAGIC,
  SECTION_NAMES,
  type SectionName,
} from './block-format.ts';
import { type BlockMeta, META_BYTES_MAX, parseBlockMeta } from './block-meta.ts';
import { blockIdOf } from './block-name.ts';
import { BlockSelect, type BlockSelectRequest } from './block-select.ts';
import { ChunkPages } from './chunk-pages.ts';
import { type ChunkSource, chunkSourceOfFile } from './chunk-source.ts';
import { LabelTables } from './label-tables.ts';
import type { PageCache } from './page-cache.ts';
import { CorruptBlockError, corruptBlock } from './page-codec.ts';
import { SectionReader } from './section-reader.ts';
import { SeriesWalker } from './series-walker.ts';
import { UNITS_PER_PAGE, WorkPacer } from './work-pacer.ts';

/** Reads and checks meta.json of the block in `dir`. */
export async function readBlockMeta(dir: string): Promise<BlockMeta> {
  const where = path.join(dir, 'meta.json');
  const file = await openFile(where);
  try {
    const { size } = await file.stat();
    if (size > META_BYTES_MAX) throw corruptBlock(where, `${size} bytes, more than ${META_BYTES_MAX}`);
    return parseBlockMeta(await file.readFile('utf8'), where);
  } catch (cause) {
    if (cause instanceof AppError && cause.code === 'bad_data') {
      throw new CorruptBlockError(cause.message, { cause });
    }
    throw cause;
  } finally {
    await file.close();
  }
}

/** A missing file makes a block corrupt; other errors come as they are. */
async function openFile(where: string): Promise<FileHandle> {
  try {
    return await open(where, 'r');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') {
      throw corruptBlock(where, 'it is missing', cause);
    }
    throw cause;
  }
}

export interface LabelsRequest {
  /** Only labels of series that match; none means all series. */
  readonly matchers: readonly Matcher[];
  /** Most values: the first ones are given. Default: no limit. */
  readonly limit?: number;
  /** Series all of whose chunks it covers are left out. */
  readonly mask?: DeletionMask;
  readonly signal?: AbortSignal;
}

/** A section of a block, for people. */
export interface SectionSize {
  readonly name: SectionName;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly pages: number;
}

export class BlockReader {
  readonly meta: BlockMeta;
  readonly #index: FileHandle;
  readonly #chunks: ChunkSource;
  readonly #directory: BlockDirectory;
  readonly #cache: PageCache;
  readonly #chunkCache: PageCache | undefined;
  readonly #owner: number;
  readonly #chunkOwner: number;
  readonly #sections: Readonly<Record<SectionName, SectionReader>>;
  readonly #tables: LabelTables;
  readonly #chunksWhere: string;
  #groupStarts: Float64Array | undefined;

  private constructor(options: {
    readonly dir: string;
    readonly meta: BlockMeta;
    readonly index: FileHandle;
    readonly chunks: ChunkSource;
    readonly directory: BlockDirectory;
    readonly cache: PageCache;
    readonly chunkCache: PageCache | undefined;
  }) {
    const { dir, index, directory, cache, chunkCache } = options;
    this.meta = options.meta;
    this.#index = index;
    this.#chunks = options.chunks;
    this.#directory = directory;
    this.#cache = cache;
    this.#owner = cache.addOwner();
    this.#chunkCache = chunkCache;
    this.#chunkOwner = chunkCache?.addOwner() ?? 0;
    this.#chunksWhere = path.join(dir, 'chunks');
    const section = (name: SectionName) =>
      new SectionReader({
        map: directory.sections[name],
        where: `${path.join(dir, 'index')}, ${name}`,
        fd: index.fd,
        cache,
        owner: this.#owner,
      });
    this.#sections = {
      chunks: section('chunks'),
      series: section('series'),
      groups: section('groups'),
      postings: section('postings'),
      values: section('values'),
      names: section('names'),
    };
    const { names, values, postings } = this.#sections;
    const { nameCount, seriesCount } = directory;
    this.#tables = new LabelTables({ names, values, postings, nameCount, seriesCount });
  }

  /**
   * Opens the block in `dir`.
   *
   * @param deps.cache       Of its index.
   * @param deps.chunkCache  Of chunks that selects read. Absent: each of them reads anew.
   * @param deps.chunksOf    Gives the block's chunks where they are not in `dir`; closed with the reader. Nothing is read of them yet.
   * @throws CorruptBlockError when meta.json, a header, the directory or a file's size is wrong.
   */
  static async open(
    dir: string,
    deps: {
      readonly cache: PageCache;
      readonly chunkCache?: PageCache | undefined;
      readonly chunksOf?: ((meta: BlockMeta) => ChunkSource) | undefined;
    },
  ): Promise<BlockReader> {
    const meta = await readBlockMeta(dir);
    const index = await openFile(path.join(dir, 'index'));
    let chunks: ChunkSource | undefined;
    try {
      chunks = deps.chunksOf?.(meta) ?? (await openChunks(meta, path.join(dir, 'chunks')));
      await checkFile(index, INDEX_MAGIC, meta.files.index.sizeBytes, path.join(dir, 'index'));
      const directory = await loadDirectory(index, meta, path.join(dir, 'index'));
      const { cache, chunkCache } = deps;
      return new BlockReader({ dir, meta, index, chunks, directory, cache, chunkCache });
    } catch (caught) {
      await index.close();
      await chunks?.close();
      throw caught;
    }
  }

  /** Starts a select; see BlockSelect.advance. */
  openSelect(request: BlockSelectRequest): BlockSelect {
    const map = this.#directory.sections.chunks;
    const cache = this.#chunkCache?.pagesOf(this.#chunkOwner, map.number);
    return new BlockSelect(request, {
      postings: this.#tables,
      walker: this.#walker(),
      pages: new ChunkPages(this.#chunks, map, this.#chunksWhere, { signal: request.signal, cache }),
      found: this.#cache.foundIn(this.#owner),
      where: this.#chunksWhere,
    });
  }

  /** Starts a walk over all series, in label order. */
  openCursor(): BlockCursor {
    return new BlockCursor({
      walker: this.#walker(),
      pages: new ChunkPages(this.#chunks, this.#directory.sections.chunks, this.#chunksWhere),
      seriesCount: this.#directory.seriesCount,
      where: this.#chunksWhere,
    });
  }

  /**
   * Reads all that the id is made of and derives it anew. Every page of series and chunks is checked on the way.
   *
   * @throws CorruptBlockError when a page is damaged, or the id is another than meta.json says.
   */
  async verifyId(pacer: WorkPacer): Promise<void> {
    const series = await this.#digestOf('series', pacer);
    const chunks = await this.#digestOf('chunks', pacer);
    const { tenant, blockId, minTimeMs, resolutionMs } = this.meta;
    const found = blockIdOf(tenant, minTimeMs, { series, chunks }, resolutionMs);
    if (found !== blockId) throw corruptBlock(this.#chunksWhere, `its content has the id ${found}`);
  }

  /** Every label pair, as canonical bytes, with the ids of its series. */
  *postingLists(): Generator<{ readonly pair: Uint8Array; readonly ids: Uint32Array }> {
    const pair = new ByteWriter(256);
    for (const name of this.#tables.labelNames()) {
      for (const value of this.#tables.labelValues(name)) {
        pair.reset();
        pair.string(name);
        pair.string(value);
        yield { pair: pair.bytes.subarray(0, pair.length), ids: this.#tables.postings(name, value) };
      }
    }
  }

  /** What each section takes, raw and on the disk. */
  sections(): SectionSize[] {
    return SECTION_NAMES.map((name) => {
      const { rawBytes, pageCount, offsets } = this.#directory.sections[name];
      return { name, rawBytes, storedBytes: offsets[pageCount]! - offsets[0]!, pages: pageCount };
    });
  }

  async #digestOf(name: 'series' | 'chunks', pacer: WorkPacer): Promise<Buffer> {
    const hash = createHash('sha256');
    const section = this.#sections[name];
    const { rawBytes, pageBytes, pageCount } = section.map;
    const pages = new ChunkPages(this.#chunks, section.map, this.#chunksWhere);
    for (let page = 0; page < pageCount; page++) {
      const start = page * pageBytes;
      const length = Math.min(pageBytes, rawBytes - start);
      if (name === 'series') hash.update(section.slice(start, length));
      else {
        await pages.load([page]);
        pages.withChunk(start, length, (bytes, from, to) => hash.update(bytes.subarray(from, to)));
      }
      if (pacer.spend(UNITS_PER_PAGE / 2)) await pacer.pause();
    }
    return hash.digest();
  }

  /** A whole select, for callers that need no frames in between. */
  async select(request: BlockSelectRequest, sink: ChunkSink): Promise<void> {
    const select = this.openSelect(request);
    while (await select.advance(sink));
  }

  /** Label names of the series that match, ascending. */
  async labelNames(request: LabelsRequest): Promise<string[]> {
    if (isWhole(request)) return [...this.#tables.labelNames()];
    const found = new Set<string>();
    await this.#forEachMatch(request, (reader) => {
      while (reader.remaining > 0) {
        found.add(reader.string());
        reader.raw(reader.varint());
      }
    });
    return [...this.#tables.labelNames()].filter((name) => found.has(name));
  }

  /** Values of a label in the series that match, ascending by UTF-8 bytes. */
  async labelValues(name: string, request: LabelsRequest): Promise<string[]> {
    const pacer = new WorkPacer(request.signal);
    const found = isWhole(request) ? undefined : await this.#valuesOfMatches(name, request);
    const values: string[] = [];
    if (found?.size === 0) return values;
    const limit = request.limit ?? Number.POSITIVE_INFINITY;
    for (const value of this.#tables.labelValues(name)) {
      if (values.length >= limit) break;
      if (found === undefined || found.has(value)) values.push(value);
      if (pacer.spend(1)) await pacer.pause();
    }
    return values;
  }

  /** Closes the files. No select may be running. */
  async close(): Promise<void> {
    this.#cache.dropOwner(this.#owner);
    this.#chunkCache?.dropOwner(this.#chunkOwner);
    await this.#index.close();
    await this.#chunks.close();
  }

  async #valuesOfMatches(name: string, request: LabelsRequest): Promise<Set<string>> {
    const found = new Set<string>();
    await this.#forEachMatch(request, (reader) => {
      while (reader.remaining > 0) {
        const own = reader.string();
        const bytes = reader.varint();
        const at = reader.position;
        reader.raw(bytes);
        if (own === name) found.add(decodeUtf8(reader.bytes, at, at + bytes));
      }
    });
    return found;
  }

  async #forEachMatch(request: LabelsRequest, visit: (labels: ByteReader) => void): Promise<void> {
    const pacer = new WorkPacer(request.signal);
    const steps = selectPostingsInSteps(this.#tables, request.matchers);
    let ids: Uint32Array | undefined;
    while (ids === undefined) {
      const step = steps.next();
      if (step.done) ids = step.value;
      else if (pacer.spend(1000)) await pacer.pause();
    }
    const walker = this.#walker();
    for (const id of ids) {
      walker.seek(id);
      if (request.mask !== undefined && isHidden(walker, request.mask)) continue;
      visit(new ByteReader(walker.labelBytes, 0, walker.labelLength));
      if (pacer.spend(2)) await pacer.pause();
    }
  }

  #walker(): SeriesWalker {
    return new SeriesWalker({
      series: this.#sections.series,
      groupStarts: this.#loadGroupStarts(),
      seriesCount: this.#directory.seriesCount,
      minTimeMs: this.#directory.minTimeMs,
    });
  }

  #loadGroupStarts(): Float64Array {
    if (this.#groupStarts !== undefined) return this.#groupStarts;
    const { groups, series } = this.#sections;
    const count = Math.ceil(this.#directory.seriesCount / GROUP_SIZE);
    this.#groupStarts = groups.decode(0, groups.map.rawBytes, (reader) => {
      if (count > reader.remaining)
        throw corruptBlock(groups.where, `${count} groups in ${reader.remaining} bytes`);
      const starts = new Float64Array(count + 1);
      for (let i = 0; i < count; i++) starts[i + 1] = starts[i]! + reader.varint();
      if (starts[count] !== series.map.rawBytes)
        throw corruptBlock(groups.where, `groups end at ${starts[count]}`);
      return starts;
    });
    return this.#groupStarts;
  }
}

/** True when all labels of the block are asked for, so that its tables answer. */
function isWhole({ matchers, mask }: LabelsRequest): boolean {
  return matchers.length === 0 && mask === undefined;
}

function isHidden({ labelBytes, labelLength, chunks }: SeriesWalker, mask: DeletionMask): boolean {
  const ranges = mask.rangesOf(labelBytes, 0, labelLength);
  for (let i = 0; i < chunks.count; i++) {
    if (!coversAll(ranges, chunks.minTimesMs[i]!, chunks.maxTimesMs[i]!)) return false;
  }
  return true;
}

/** The chunks beside the index. */
async function openChunks(meta: BlockMeta, where: string): Promise<ChunkSource> {
  const file = await openFile(where);
  try {
    await checkFile(file, CHUNKS_MAGIC, meta.files.chunks.sizeBytes, where);
    return chunkSourceOfFile(file);
  } catch (caught) {
    await file.close();
    throw caught;
  }
}

async function checkFile(file: FileHandle, magic: number, sizeBytes: number, where: string): Promise<void> {
  const { size } = await file.stat();
  if (size !== sizeBytes) throw corruptBlock(where, `${size} bytes, meta.json says ${sizeBytes}`);
  const header = await readExactly(file, 0, FILE_HEADER_BYTES, where);
  const reader = new ByteReader(header);
  const actualMagic = reader.u32();
  if (actualMagic !== magic) throw corruptBlock(where, `it begins with ${actualMagic.toString(16)}`);
  const version = reader.u32();
  if (version !== FILE_VERSION) throw corruptBlock(where, `unknown version ${version}`);
}

async function readExactly(
  file: FileHandle,
  start: number,
  length: number,
  where: string,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(bytes, at, length - at, start + at);
    if (bytesRead === 0) throw corruptBlock(where, `it ends at byte ${start + at}`);
    at += bytesRead;
  }
  return bytes;
}

async function loadDirectory(file: FileHandle, meta: BlockMeta, where: string): Promise<BlockDirectory> {
  const fileBytes = meta.files.index.sizeBytes;
  if (fileBytes < FILE_HEADER_BYTES + INDEX_FOOTER_BYTES)
    throw corruptBlock(where, `only ${fileBytes} bytes`);
  const footer = await readExactly(file, fileBytes - INDEX_FOOTER_BYTES, INDEX_FOOTER_BYTES, where);
  const place = locateDirectory(footer, fileBytes, where);
  const bytes = await readExactly(file, place.start, fileBytes - place.start, where);
  let directory: BlockDirectory;
  try {
    directory = readDirectory(bytes, place.start, meta.files.chunks.sizeBytes, where);
  } catch (cause) {
    if (cause instanceof AppError && cause.code === 'bad_data')
      throw corruptBlock(where, cause.message, cause);
    throw cause;
  }
  const agrees =
    directory.seriesCount === meta.seriesCount &&
    directory.minTimeMs === meta.minTimeMs &&
    directory.maxTimeMs === meta.maxTimeMs;
  if (!agrees) throw corruptBlock(where, 'it does not belong to this meta.json');
  return directory;
}
