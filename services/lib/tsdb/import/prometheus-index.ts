// A Prometheus block's index, version 2: the symbol table in memory, the series front to back (docs/format/prometheus.md).
// Postings and label indices are not looked at: an import wants everything.
import type { Disk } from '../../core/disk.ts';
import { toAppError } from '../../core/errors.ts';
import { BufferedFile } from './buffered-file.ts';
import { crc32c } from './crc32c.ts';
import { GoReader } from './go-reader.ts';
import { type OnDamage, PrometheusFileError } from './prometheus-error.ts';

const MAGIC = 0xbaaad700;
const VERSION = 2;
const HEADER_BYTES = 5;
/** Six 64-bit references and a checksum. */
const TOC_BYTES = 52;
const SERIES_ALIGNMENT = 16;
/** All label names and values of a block. Prometheus keeps offsets of them in memory, so real ones are far smaller. */
const SYMBOL_BYTES_MAX = 1 << 30;
/** One series' labels and chunk references: a million chunks, or sixteen megabytes of labels. */
const SERIES_BYTES_MAX = 16 << 20;
const LENGTH_BYTES_MAX = 10;

/** A chunk's place: number of the segment file, from 0, and offset in it. */
export interface ChunkPlace {
  readonly segment: number;
  readonly offset: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

export interface IndexedSeries {
  /** What tombstones call it: offset / 16. */
  readonly reference: number;
  /** Where the next series' entry is looked for. */
  readonly nextOffset: number;
  /** `[name, value, …]`, sorted by name. */
  readonly labels: readonly Uint8Array[];
  readonly chunks: readonly ChunkPlace[];
}

export class PrometheusIndex {
  readonly #file: BufferedFile;
  readonly #symbols: Uint8Array;
  readonly #symbolStarts: Uint32Array;
  readonly #symbolEnds: Uint32Array;
  /** The series stand in file[seriesStart, seriesEnd). */
  readonly seriesStart: number;
  readonly seriesEnd: number;

  private constructor(
    file: BufferedFile,
    symbols: Symbols,
    range: { readonly start: number; readonly end: number },
  ) {
    this.#file = file;
    this.#symbols = symbols.bytes;
    this.#symbolStarts = symbols.starts;
    this.#symbolEnds = symbols.ends;
    this.seriesStart = range.start;
    this.seriesEnd = range.end;
  }

  /**
   * Opens `name` and reads its symbols.
   *
   * @throws PrometheusFileError when head, table of contents or symbols are not whole: nothing can be read without them.
   */
  static async open(name: string, disk: Disk): Promise<PrometheusIndex> {
    const file = await BufferedFile.open(name, await disk.open(name, 'read'));
    try {
      const head = new GoReader(await file.read(0, HEADER_BYTES));
      const magic = head.be32();
      if (magic !== MAGIC)
        throw new PrometheusFileError(name, 0, `not an index: it begins with ${hex(magic)}`);
      const version = head.u8();
      if (version !== VERSION) {
        throw new PrometheusFileError(name, 4, `index version ${version}; version ${VERSION} is read here`);
      }
      const toc = await readToc(file);
      return new PrometheusIndex(file, await readSymbols(file, toc.symbols), toc);
    } catch (caught) {
      await file.close();
      throw named(name, 0, caught);
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /**
   * The series from `offset` on, seriesStart or a `nextOffset`.
   *
   * An entry that is damaged is reported and skipped; where its length is what is damaged, so may be those after it.
   */
  async *series(offset: number, onDamage: OnDamage): AsyncGenerator<IndexedSeries> {
    let at = Math.ceil(offset / SERIES_ALIGNMENT) * SERIES_ALIGNMENT;
    while (at < this.seriesEnd) {
      const head = new GoReader(await this.#file.peek(at, LENGTH_BYTES_MAX));
      let next = at + SERIES_ALIGNMENT;
      try {
        const length = head.varint();
        if (length > 0) {
          const start = at + head.position;
          const end = start + length;
          if (length > SERIES_BYTES_MAX || end + 4 > this.seriesEnd)
            throw new PrometheusFileError(this.#file.name, at, `a series entry of ${length} bytes`);
          const bytes = await this.#file.read(start, length + 4);
          checkSum(this.#file.name, start, bytes, 0, length);
          next = Math.ceil((end + 4) / SERIES_ALIGNMENT) * SERIES_ALIGNMENT;
          const { labels, chunks } = this.#readSeries(new GoReader(bytes, 0, length));
          yield { reference: at / SERIES_ALIGNMENT, nextOffset: next, labels, chunks };
        }
      } catch (caught) {
        onDamage(named(this.#file.name, at, caught));
      }
      at = next;
    }
  }

  #readSeries(reader: GoReader): { labels: Uint8Array[]; chunks: ChunkPlace[] } {
    const labels: Uint8Array[] = [];
    for (let left = reader.varint() * 2; left > 0; left--) labels.push(this.#symbol(reader));
    const chunks: ChunkPlace[] = [];
    let reference = 0n;
    let maxTimeMs = 0;
    const count = reader.varint();
    for (let i = 0; i < count; i++) {
      const minTimeMs = i === 0 ? reader.signedVarint() : maxTimeMs + reader.varint();
      maxTimeMs = minTimeMs + reader.varint();
      // 64 bits: the segment's number in the upper half. Differences are signed.
      reference += i === 0 ? BigInt(reader.varint()) : BigInt(reader.signedVarint());
      chunks.push({
        segment: Number(reference >> 32n),
        offset: Number(reference & 0xffffffffn),
        minTimeMs,
        maxTimeMs,
      });
    }
    if (reader.remaining > 0)
      throw new PrometheusFileError(this.#file.name, 0, `${reader.remaining} bytes behind a series' chunks`);
    return { labels, chunks };
  }

  #symbol(reader: GoReader): Uint8Array {
    const reference = reader.varint();
    if (reference >= this.#symbolStarts.length) {
      throw new PrometheusFileError(
        this.#file.name,
        0,
        `symbol ${reference} of ${this.#symbolStarts.length} is referred to`,
      );
    }
    return this.#symbols.subarray(this.#symbolStarts[reference]!, this.#symbolEnds[reference]!);
  }
}

interface Symbols {
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
}

async function readToc(file: BufferedFile): Promise<{ symbols: number; start: number; end: number }> {
  const at = file.size - TOC_BYTES;
  if (at < HEADER_BYTES) throw new PrometheusFileError(file.name, 0, `${file.size} bytes are no index`);
  const bytes = await file.read(at, TOC_BYTES);
  checkSum(file.name, at, bytes, 0, TOC_BYTES - 4);
  const reader = new GoReader(bytes);
  const [symbols = 0, start = 0, ...rest] = Array.from({ length: 6 }, () => reader.be64());
  // The first section behind the series ends them; which one that is depends on the version that wrote the index.
  const end = Math.min(at, ...rest.filter((offset) => offset > start));
  for (const offset of [symbols, start])
    if (offset > at)
      throw new PrometheusFileError(file.name, at, `a section at ${offset}, beyond the contents`);
  return start === 0 ? { symbols, start: at, end: at } : { symbols, start, end };
}

async function readSymbols(file: BufferedFile, at: number): Promise<Symbols> {
  if (at === 0) return { bytes: new Uint8Array(0), starts: new Uint32Array(0), ends: new Uint32Array(0) };
  const length = new GoReader(await file.read(at, 4)).be32();
  if (length > SYMBOL_BYTES_MAX || at + 8 + length > file.size)
    throw new PrometheusFileError(file.name, at, `a symbol table of ${length} bytes`);
  const bytes = (await file.read(at + 4, length + 4)).slice();
  checkSum(file.name, at + 4, bytes, 0, length);
  const reader = new GoReader(bytes, 0, length);
  const count = reader.be32();
  if (count > reader.remaining)
    throw new PrometheusFileError(file.name, at + 4, `${count} symbols in ${length} bytes`);
  const starts = new Uint32Array(count);
  const ends = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const symbolBytes = reader.varint();
    starts[i] = reader.position;
    reader.skip(symbolBytes);
    ends[i] = reader.position;
  }
  return { bytes, starts, ends };
}

/** Compares bytes[start, end) with the checksum behind them. @throws PrometheusFileError naming `offset`. */
export function checkSum(file: string, offset: number, bytes: Uint8Array, start: number, end: number): void {
  const written = new DataView(bytes.buffer, bytes.byteOffset).getUint32(end);
  const computed = crc32c(bytes, start, end);
  if (written === computed) return;
  throw new PrometheusFileError(
    file,
    offset,
    `checksum ${hex(computed)} of ${end - start} bytes, ${hex(written)} is written`,
  );
}

/** Whatever was caught, with file and offset. */
export function named(file: string, offset: number, caught: unknown): PrometheusFileError {
  if (caught instanceof PrometheusFileError) return caught;
  return new PrometheusFileError(file, offset, toAppError(caught).message);
}

function hex(word: number): string {
  return `0x${word.toString(16).padStart(8, '0')}`;
}
