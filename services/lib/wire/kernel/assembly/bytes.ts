// Comparing bytes, whole words at a time. Loads may overlap, and never leave the bytes.

/** Whether `count` bytes at `a` are those at `b`. */
export function equalBytes(a: usize, b: usize, count: usize): bool {
  if (count >= 16) {
    const last = count - 16;
    let difference = v128.xor(v128.load(a + last), v128.load(b + last));
    for (let i: usize = 0; i < last; i += 16) {
      difference = v128.or(difference, v128.xor(v128.load(a + i), v128.load(b + i)));
    }
    return !v128.any_true(difference);
  }
  if (count >= 8) {
    const last = count - 8;
    return ((load<u64>(a) ^ load<u64>(b)) | (load<u64>(a + last) ^ load<u64>(b + last))) === 0;
  }
  if (count >= 4) {
    const last = count - 4;
    return ((load<u32>(a) ^ load<u32>(b)) | (load<u32>(a + last) ^ load<u32>(b + last))) === 0;
  }
  let difference: u32 = 0;
  for (let i: usize = 0; i < count; i++) difference |= (load<u8>(a + i) ^ load<u8>(b + i)) as u32;
  return difference === 0;
}
