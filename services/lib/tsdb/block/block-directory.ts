// The directory at the end of an index: where each section's pages are. Everything in it is checked against the sizes of
// the two files before it is believed.
import { crc32 } from 'node:zlib';
import { ByteReader } from '../../core/bytes.ts';
import {
  FILE_HEADER_BYTES,
  FILE_VERSION,
  INDEX_FOOTER_BYTES,
  INDEX_MAGIC,
  PAGE_BYTES_MAX,
  PAGE_HEADER_BYTES,
  SECTION_NAMES,
  type SectionName,
} from './block-format.ts';
import { corruptBlock } from './page-codec.ts';

/** Where a section's pages stand in its file. */
export interface SectionMap {
  readonly name: SectionName;
  /** Position in SECTION_NAMES. */
  readonly number: number;
  readonly rawBytes: number;
  readonly pageBytes: number;
  readonly pageCount: number;
  /** Page i stands in file[offsets[i], offsets[i + 1]). */
  readonly offsets: Float64Array;
}

export interface BlockDirectory {
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly seriesCount: number;
  readonly nameCount: number;
  readonly sections: Readonly<Record<SectionName, SectionMap>>;
}

export interface DirectoryPlace {
  readonly start: number;
  readonly end: number;
}

/**
 * Where the directory is, from the last INDEX_FOOTER_BYTES of an index of `fileBytes`.
 *
 * @throws CorruptBlockError
 */
export function locateDirectory(footer: Uint8Array, fileBytes: number, where: string): DirectoryPlace {
  const reader = new ByteReader(footer);
  const directoryBytes = reader.u32();
  const version = reader.u32();
  const magic = reader.u32();
  if (magic !== INDEX_MAGIC) throw corruptBlock(where, `no index: it ends in ${magic.toString(16)}`);
  if (version !== FILE_VERSION) throw corruptBlock(where, `unknown version ${version}`);
  const start = fileBytes - INDEX_FOOTER_BYTES - directoryBytes;
  if (start < FILE_HEADER_BYTES)
    throw corruptBlock(where, `directory of ${directoryBytes} in ${fileBytes} bytes`);
  return { start, end: start + directoryBytes };
}

/**
 * Reads directory and footer, which stand together in `bytes`.
 *
 * @param start  Offset of the directory in the index file: all its pages lie in front.
 * @throws CorruptBlockError
 */
export function readDirectory(
  bytes: Uint8Array,
  start: number,
  chunksFileBytes: number,
  where: string,
): BlockDirectory {
  const stated = new ByteReader(bytes, bytes.length - 4).u32();
  const actual = crc32(bytes.subarray(0, bytes.length - 4));
  if (stated !== actual)
    throw corruptBlock(where, `directory CRC ${actual.toString(16)}, written ${stated.toString(16)}`);
  const reader = new ByteReader(bytes, 0, bytes.length - INDEX_FOOTER_BYTES);
  const minTimeMs = reader.f64();
  const maxTimeMs = reader.f64();
  const seriesCount = reader.varint();
  const nameCount = reader.varint();
  const sections: Partial<Record<SectionName, SectionMap>> = {};
  let indexOffset = FILE_HEADER_BYTES;
  for (const [number, name] of SECTION_NAMES.entries()) {
    const isChunks = name === 'chunks';
    const section = readSection(reader, name, number, isChunks ? FILE_HEADER_BYTES : indexOffset, where);
    sections[name] = section;
    const end = section.offsets[section.pageCount]!;
    if (!isChunks) indexOffset = end;
    else if (end !== chunksFileBytes)
      throw corruptBlock(where, `chunks end at ${end}, their file at ${chunksFileBytes}`);
  }
  if (indexOffset !== start)
    throw corruptBlock(where, `pages end at ${indexOffset}, the directory begins at ${start}`);
  if (reader.remaining !== 0) throw corruptBlock(where, `${reader.remaining} bytes behind the directory`);
  return { minTimeMs, maxTimeMs, seriesCount, nameCount, sections: sections as BlockDirectory['sections'] };
}

function readSection(
  reader: ByteReader,
  name: SectionName,
  number: number,
  fileOffset: number,
  where: string,
): SectionMap {
  const rawBytes = reader.varint();
  const pageBytes = reader.varint();
  const pageCount = reader.varint();
  const fits = pageBytes > 0 && pageBytes <= PAGE_BYTES_MAX && pageCount === Math.ceil(rawBytes / pageBytes);
  if (!fits || pageCount > reader.remaining) {
    throw corruptBlock(where, `section ${name}: ${rawBytes} bytes in ${pageCount} pages of ${pageBytes}`);
  }
  const offsets = new Float64Array(pageCount + 1);
  offsets[0] = fileOffset;
  for (let i = 0; i < pageCount; i++) {
    const stored = reader.varint();
    if (stored < PAGE_HEADER_BYTES || stored > pageBytes + PAGE_HEADER_BYTES) {
      throw corruptBlock(where, `section ${name}: page ${i} of ${stored} bytes`);
    }
    offsets[i + 1] = offsets[i]! + stored;
  }
  return { name, number, rawBytes, pageBytes, pageCount, offsets };
}

/** Raw bytes of page `page`. */
export function rawBytesOfPage(section: SectionMap, page: number): number {
  return Math.min(section.pageBytes, section.rawBytes - page * section.pageBytes);
}
