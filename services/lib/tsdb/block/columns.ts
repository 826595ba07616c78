// Typed arrays that grow: columns of what is being collected, without an object per row.

export class Uint32Column {
  array: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  length = 0;

  push(value: number): void {
    if (this.length === this.array.length) {
      const grown = new Uint32Array(this.length * 2);
      grown.set(this.array);
      this.array = grown;
    }
    this.array[this.length++] = value;
  }
}

export class Float64Column {
  array: Float64Array<ArrayBuffer> = new Float64Array(64);
  length = 0;

  push(value: number): void {
    if (this.length === this.array.length) {
      const grown = new Float64Array(this.length * 2);
      grown.set(this.array);
      this.array = grown;
    }
    this.array[this.length++] = value;
  }
}
