// What is known of a closed chunk, as it stands in the pages of its chains (chunk-chains.ts): threads that are handed the pages read it
// as well. Entries never change once a series' chain leads to them.

// Words of a chunk stand side by side: who reads one of them reads all, and series are read in an order that memory does not have.
/** The next older chunk of its series or ABSENT. */
export const OLDER = 0;
/** Time of the first and of the last sample, behind the chains' startMs. */
export const FIRST_MS = 1;
export const LAST_MS = 2;
/** Page and offset of its bytes. */
export const ADDRESS = 3;
export const BYTES = 4;
export const CHUNK_WORDS = 5;

/** Chunks that are known side by side: the first so many grow, further ones have their full room at once, and nothing is moved. */
export const KNOWN_SHIFT = 14;
export const KNOWN_MASK: number = (1 << KNOWN_SHIFT) - 1;

/** An address is page << 20 | offset. */
export const ADDRESS_SHIFT = 20;
export const OFFSET_MASK = 0xfffff;
