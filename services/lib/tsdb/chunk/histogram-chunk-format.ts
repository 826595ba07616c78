// Constants of ../docs/format/chunk-histograms.md that encoder and decoder share.

/** Most histograms of one chunk. */
export const HISTOGRAM_SAMPLES_MAX = 4096;
/**
 * Most counts (samples × columns) of a chunk of more than one histogram: bounds what a reader allocates, and keeps a chunk of
 * incompressible counts below CHUNK_BYTES_MAX.
 */
export const HISTOGRAM_CELLS_MAX = 1 << 16;

/** Columns that are no bucket: the zero bucket, the count of all observations. */
export const FIXED_COLUMNS = 2;

export const SHAPE_CUSTOM = 1;

/** Run: the low two bits are the hint. */
export const RUN_HINT_MASK = 3;
export const RUN_INTEGER = 4;
/** A bitmap of the positive (negative) buckets that the run's histograms have follows; else they have all. */
export const RUN_SOME_POSITIVE = 8;
export const RUN_SOME_NEGATIVE = 16;
export const RUN_FLAGS_ALL = 31;

/** Column forms. */
export const COLUMN_INTEGERS = 0;
export const COLUMN_FLOATS = 1;
/** Count of all observations, less what the buckets hold; the last column only. */
export const COLUMN_REST = 2;

/** Sums: as the floats stand, or with what has to be added to their bits. */
export const SUMS_PLAIN = 0;
export const SUMS_CORRECTED = 1;
