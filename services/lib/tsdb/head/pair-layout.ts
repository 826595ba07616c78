// Where label pairs stand in the pages of a head (label-pairs.ts): threads that are handed the pages read them as well.

/** Words of a pair: its address, page << PAIR_PAGE_SHIFT | offset, and its bytes (name and value, each as varint length and UTF-8). */
export const PAIR_PAGE = 0;
export const PAIR_BYTES = 1;
export const PAIR_WORDS = 2;

/** A pair of more bytes has a page of its own. */
export const PAIR_PAGE_SHIFT = 16;
export const PAIR_OFFSET_MASK = 0xffff;

/** Pairs whose words stand side by side: the first so many grow, further ones have their full room at once. */
export const PLACES_SHIFT = 13;
export const PLACES_MASK: number = (1 << PLACES_SHIFT) - 1;
