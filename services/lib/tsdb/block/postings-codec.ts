// Postings on disk: gaps between ids, and runs of consecutive ids as one. Series are sorted, so the postings of a metric
// name are a single run, and those of a label that changes slowly are a few.
import type { ByteReader, ByteWriter } from '../../core/bytes.ts';
import { corruptBlock } from './page-codec.ts';

/** Appends ids[start, end), strictly ascending. */
export function encodePostings(ids: Uint32Array, start: number, end: number, dst: ByteWriter): void {
  let next = 0;
  for (let i = start; i < end; ) {
    const first = ids[i]!;
    let last = i;
    while (last + 1 < end && ids[last + 1] === ids[last]! + 1) last++;
    const isRun = last > i;
    dst.varint((first - next) * 2 + (isRun ? 1 : 0));
    if (isRun) dst.varint(last - i - 1);
    next = ids[last]! + 1;
    i = last + 1;
  }
}

/**
 * Reads `count` ids.
 *
 * @param idEnd  Ids are below this; `count` was checked against it before anything was allocated.
 * @throws CorruptBlockError when they do not fit.
 */
export function decodePostings(reader: ByteReader, count: number, idEnd: number, where: string): Uint32Array {
  if (count > idEnd) throw corruptBlock(where, `${count} postings of ${idEnd} series`);
  const ids = new Uint32Array(count);
  let next = 0;
  for (let i = 0; i < count; ) {
    const token = reader.varint();
    const first = next + Math.floor(token / 2);
    const length = token % 2 === 0 ? 1 : reader.varint() + 2;
    if (first + length > idEnd || i + length > count) {
      throw corruptBlock(
        where,
        `ids ${first} … ${first + length - 1} as number ${i} of ${count}, series are ${idEnd}`,
      );
    }
    for (let k = 0; k < length; k++) ids[i++] = first + k;
    next = first + length;
  }
  return ids;
}
