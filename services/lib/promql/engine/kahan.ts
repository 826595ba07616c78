// Summation as Prometheus does it: Neumaier's variant of Kahan's, whose compensation also holds when the summand is
// larger than the sum. The steps are written out where they are hot; this is the definition they follow.

/** A running compensated sum. */
export class KahanSum {
  sum = 0;
  compensation = 0;

  reset(): void {
    this.sum = 0;
    this.compensation = 0;
  }

  add(value: number): void {
    const sum = this.sum;
    const total = sum + value;
    if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) this.compensation = 0;
    else if (Math.abs(sum) >= Math.abs(value)) this.compensation += sum - total + value;
    else this.compensation += value - total + sum;
    this.sum = total;
  }

  /** Sum and compensation together. */
  get total(): number {
    return this.sum + this.compensation;
  }
}
