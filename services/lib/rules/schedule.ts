// When groups are evaluated: at multiples of the interval, shifted by an offset from the group's name, so that groups
// spread over the interval and a restart keeps the timestamps.
import { encodeUtf8 } from '../core/bytes.ts';
import { hash128 } from '../core/hash128.ts';

/** A group's share of the interval, 0 … intervalMs-1. */
export function groupOffsetMs(file: string, name: string, intervalMs: number): number {
  const bytes = encodeUtf8(`${name}\u0000${file}`);
  const words = new Uint32Array(4);
  hash128(bytes, 0, bytes.length, 0, words);
  // 53 of the 128 bits, so that the remainder is exact.
  return (words[0]! * 2 ** 21 + (words[1]! >>> 11)) % intervalMs;
}

/** The newest slot at or before `nowMs`. */
export function slotBefore(nowMs: number, intervalMs: number, offsetMs: number): number {
  return Math.floor((nowMs - offsetMs) / intervalMs) * intervalMs + offsetMs;
}

export interface NextSlot {
  readonly timeMs: number;
  /** Slots that passed without an evaluation. */
  readonly missed: number;
}

/** The slot to evaluate after `previousMs`: the next one, or when more have passed, the newest of them. */
export function slotAfter(previousMs: number, nowMs: number, intervalMs: number): NextSlot {
  const passed = Math.max(Math.floor((nowMs - previousMs) / intervalMs), 1);
  return { timeMs: previousMs + passed * intervalMs, missed: passed - 1 };
}
