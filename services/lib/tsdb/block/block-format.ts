// Constants of ../docs/format/block.md that writer and reader share.

/** `TMIX` and `TMCH`, as the u32 that stands little-endian in the file. */
export const INDEX_MAGIC = 0x58494d54;
export const CHUNKS_MAGIC = 0x48434d54;
export const FILE_VERSION = 1;
/** Magic and version at the front of both files. */
export const FILE_HEADER_BYTES = 8;
/** Directory size, version, magic, CRC at the end of the index. */
export const INDEX_FOOTER_BYTES = 16;
/** CRC and codec in front of each page's payload. */
export const PAGE_HEADER_BYTES = 5;

export const PAGE_STORED = 0;
export const PAGE_ZSTD = 1;

/** Raw bytes of a page of chunks: one is read and expanded for a single series, so it is kept small. */
export const CHUNK_PAGE_BYTES = 64 * 1024;
/** Raw bytes of a page of the index. */
export const INDEX_PAGE_BYTES = 32 * 1024;
/** What a reader accepts: bounds the memory that a page can ask for. */
export const PAGE_BYTES_MAX = 1 << 20;

/** Series, and values of a label, that are coded against their neighbour before one is written whole. */
export const GROUP_SIZE = 32;

/** Largest chunk: far above what any encoder makes (65,535 samples of 17 bytes). */
export const CHUNK_BYTES_MAX = 1 << 21;
/** Largest label set, bytes: far above every admission limit. */
export const LABELS_BYTES_MAX = 1 << 20;

/** Sections of a block in the order of the directory; `chunks` stands in the file of that name. */
export const SECTION_NAMES = ['chunks', 'series', 'groups', 'postings', 'values', 'names'] as const;
export type SectionName = (typeof SECTION_NAMES)[number];
