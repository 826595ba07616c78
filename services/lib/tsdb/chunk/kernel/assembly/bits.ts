// Bits of a stream whose most significant bit comes first.

/** At least 57 bits from bit `bit` behind `at` on, the first of them the topmost. Reads eight bytes, also behind the stream. */
export function bitsFrom(at: usize, bit: usize): u64 {
  const bytes = v128.load64_zero(at + (bit >> 3));
  const turned = i8x16.shuffle(bytes, bytes, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  return (i64x2.extract_lane(turned, 0) as u64) << ((bit & 7) as u64);
}

/** What is returned in place of a count where the bytes are not what this module decodes. */
export const FAULT: i32 = -1;

/** Times are whole numbers up to here, in either direction. */
export const TIME_MAX: f64 = 9007199254740991;
