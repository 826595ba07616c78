// Reads what Go's encoding/binary writes: big-endian words, unsigned varints (in ByteReader) and zigzag varints of up to 64
// bits. Numbers beyond 2^53 do not occur in what we want of Prometheus' files: they are refused, never rounded.
import { ByteReader } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';

const TWO_32 = 4_294_967_296;
const VARINT_BYTES_MAX = 10;

/** A ByteReader that knows big-endian words too. Running over the end throws `bad_data`. */
export class GoReader extends ByteReader {
  be32(): number {
    const at = this.position;
    this.skip(4);
    return this.view.getUint32(at);
  }

  /** An unsigned 64-bit word. */
  be64(): number {
    const high = this.be32();
    return exact(high * TWO_32 + this.be32(), this.position);
  }

  /** A signed 64-bit word. */
  signedBe64(): number {
    const high = this.be32() | 0;
    return exact(high * TWO_32 + this.be32(), this.position);
  }

  /** A double whose NaN payload does not matter. */
  beDouble(): number {
    const at = this.position;
    this.skip(8);
    return this.view.getFloat64(at);
  }

  /** A zigzag varint. The ends of the 64-bit range stand for "ever" in Prometheus: they become the ends of ours. */
  signedVarint(): number {
    let half = 0;
    let factor = 0.5;
    let negative = false;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      const byte = this.u8();
      if (i === 0) negative = (byte & 1) === 1;
      half += (i === 0 ? byte & 126 : byte & 127) * factor;
      factor *= 128;
      if (byte < 128) {
        if (half > Number.MAX_SAFE_INTEGER) half = Number.MAX_SAFE_INTEGER;
        return negative ? -half - (half === Number.MAX_SAFE_INTEGER ? 0 : 1) : half;
      }
    }
    throw new AppError('bad_data', `varint longer than 10 bytes at offset ${this.position}`);
  }
}

function exact(value: number, position: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw new AppError('bad_data', `number beyond 2^53 - 1 at offset ${position - 8}`);
}
