// Bits from the most significant one down, and the variable-width codes of Prometheus' histogram chunks
// (docs/format/prometheus.md, "Histogram chunks"). Reading over the end throws; nothing beside the range is looked at.
import { AppError } from '../../core/errors.ts';

const TWO_32 = 4_294_967_296;

/** Bits of a number whose code has 1, 2 … 8 ones in front. */
const WIDTHS = [3, 6, 9, 12, 18, 25, 56, 64];

/** The state of one XOR-coded column of doubles. */
export class XorState {
  /** Words of the current value. */
  high = 0;
  low = 0;
  leading = 0;
  /** Significant bits of the window; 0 when there is none yet. */
  significant = 0;
}

export class BitReader {
  readonly #bytes: Uint8Array;
  readonly #endBit: number;
  #bit: number;
  readonly #double = new DataView(new ArrayBuffer(8));

  /** Over bytes[start, end). */
  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#bit = start * 8;
    this.#endBit = end * 8;
  }

  /** Whole bytes that nobody has touched yet. */
  get bytesLeft(): number {
    return Math.floor((this.#endBit - this.#bit) / 8);
  }

  get bitsLeft(): number {
    return this.#endBit - this.#bit;
  }

  /** Up to 32 bits as an unsigned number. */
  bits(count: number): number {
    if (this.#bit + count > this.#endBit) throw new AppError('bad_data', 'the bit stream ends early');
    let value = 0;
    let left = count;
    while (left > 0) {
      const used = this.#bit & 7;
      const take = Math.min(8 - used, left);
      const byte = this.#bytes[this.#bit >>> 3]!;
      value = value * 2 ** take + ((byte >>> (8 - used - take)) & ((1 << take) - 1));
      this.#bit += take;
      left -= take;
    }
    return value;
  }

  /** A double whose NaN payload does not matter. */
  double(): number {
    this.#double.setUint32(0, this.bits(32));
    this.#double.setUint32(4, this.bits(32));
    return this.#double.getFloat64(0);
  }

  /** `<varbit_uint>`. @throws AppError `bad_data` beyond 2^53. */
  unsigned(): number {
    const width = this.#width();
    if (width <= 32) return this.bits(width);
    const high = this.bits(width - 32);
    return this.#exact(high * TWO_32 + this.bits(32));
  }

  /** `<varbit_int>`: values above the middle of the width are negative. @throws AppError `bad_data` beyond ±2^53. */
  signed(): number {
    const width = this.#width();
    if (width === 0) return 0;
    if (width <= 25) {
      const value = this.bits(width);
      return value > 2 ** (width - 1) ? value - 2 ** width : value;
    }
    // The middle of 56 bits is beyond 2^53: neither reading of it is one of ours.
    const high = this.bits(width - 32);
    const sign = 2 ** (width - 33);
    const low = this.bits(32);
    return this.#exact((high >= sign ? high - 2 * sign : high) * TWO_32 + low);
  }

  /** The value behind a 64-bit pattern; the state begins with it. */
  firstXor(state: XorState): void {
    state.high = this.bits(32) | 0;
    state.low = this.bits(32) | 0;
  }

  /** `<varbit_xor>`: moves the state to the next value. */
  nextXor(state: XorState): void {
    if (this.bits(1) === 0) return;
    this.xorBits(state, this.bits(1) === 1);
  }

  /** The bits that change: of a new window, which is said first, or of the one before. */
  xorBits(state: XorState, isNewWindow: boolean): void {
    if (isNewWindow) {
      state.leading = this.bits(5);
      const significant = this.bits(6);
      state.significant = significant === 0 ? 64 : significant;
    } else if (state.significant === 0) {
      throw new AppError('bad_data', 'a window of significant bits is used before there is one');
    }
    const { leading, significant } = state;
    const trailing = 64 - leading - significant;
    if (trailing < 0)
      throw new AppError('bad_data', `${leading} leading and ${significant} significant bits`);
    const upper = significant > 32 ? this.bits(significant - 32) : 0;
    const lower = this.bits(Math.min(significant, 32));
    // upper:lower is a number of `significant` bits, to be shifted left by `trailing`.
    if (trailing >= 32) {
      state.high ^= lower << (trailing - 32);
      return;
    }
    state.low ^= lower << trailing;
    state.high ^= (upper << trailing) | (trailing === 0 ? 0 : lower >>> (32 - trailing));
  }

  /** The double of a state, a staleness marker as such where typed arrays carry it. */
  valueOf(state: XorState): number {
    this.#double.setInt32(0, state.high);
    this.#double.setInt32(4, state.low);
    return this.#double.getFloat64(0);
  }

  #width(): number {
    let ones = 0;
    while (ones < 8 && this.bits(1) === 1) ones++;
    return ones === 0 ? 0 : WIDTHS[ones - 1]!;
  }

  #exact(value: number): number {
    if (Number.isSafeInteger(value)) return value;
    throw new AppError('bad_data', `the number ${value} is beyond 2^53`);
  }
}
