// The numbers of a distributor's writes, by which replicas find out what they lack (wire/docs/held-writes.md).
import { ByteWriter } from '../core/bytes.ts';
import type { WriteNumber } from './ingester-session.ts';

export class WriteNumbers {
  readonly #origin: string;
  /** By partition: the newest write with samples of it, and the one before. */
  #newest = new Float64Array(64);
  #before = new Float64Array(64);
  readonly #steps = new ByteWriter(256);
  #write = 0;

  constructor(origin: string) {
    this.#origin = origin;
  }

  /** The next write begins. */
  begin(): void {
    this.#write++;
  }

  /** What a replica gets of the write that began last; `partitions` ascend, and all have samples in it. */
  of(partitions: readonly number[]): WriteNumber {
    const steps = this.#steps;
    steps.reset();
    for (const partition of partitions) {
      if (partition >= this.#newest.length) this.#grow(partition + 1);
      if (this.#newest[partition] !== this.#write) {
        this.#before[partition] = this.#newest[partition]!;
        this.#newest[partition] = this.#write;
      }
      steps.varint(this.#write - this.#before[partition]!);
    }
    return { origin: this.#origin, write: this.#write, steps: steps.take() };
  }

  #grow(needed: number): void {
    const grow = (column: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const grown = new Float64Array(Math.max(needed, column.length * 2));
      grown.set(column);
      return grown;
    };
    this.#newest = grow(this.#newest);
    this.#before = grow(this.#before);
  }
}
