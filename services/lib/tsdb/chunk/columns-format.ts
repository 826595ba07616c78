// Constants of ../docs/format/chunk-columns.md that encoder and decoder share.

/** Most samples of one chunk; bounds what a reader allocates. The same as an XOR chunk's. */
export const COLUMNS_SAMPLES_MAX = 0xffff;

/** Column kind: how often differences were taken, 0 to 2. */
export const KIND_ORDER_MASK = 3;
/** Column kind: a factor follows. */
export const KIND_FACTOR = 4;
/** Column kind: patches follow. */
export const KIND_PATCHED = 8;

/** Bits of an entry at most: entries are below 2^53. */
export const WIDTH_BITS_MAX = 53;

/** Value form: the low bits are the decimal exponent, or FORM_CONSTANT. */
export const FORM_EXPONENT_MASK = 31;
/** Value form: all values have the 64 bits that follow. */
export const FORM_CONSTANT = 31;
/** Value form: values that are no decimal follow. */
export const FORM_EXCEPTIONS = 32;

/** 10^22 is the last power of ten that a double holds exactly, so that one division rounds once. */
export const EXPONENT_MAX = 22;
/** 10^0 to 10^22, all exact. */
export const POWERS_OF_TEN: Float64Array = Float64Array.from({ length: EXPONENT_MAX + 1 }, (_, e) =>
  Number(`1e${e}`),
);

/** Bytes of a zigzag varint of any safe integer at most. */
export const ZIGZAG_BYTES_MAX = 8;
