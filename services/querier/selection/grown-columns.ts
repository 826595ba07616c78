// Columns of twice the length, with what was in them.

export function growUint8(column: Uint8Array): Uint8Array<ArrayBuffer> {
  const grown = new Uint8Array(column.length * 2);
  grown.set(column);
  return grown;
}

export function growUint16(column: Uint16Array): Uint16Array<ArrayBuffer> {
  const grown = new Uint16Array(column.length * 2);
  grown.set(column);
  return grown;
}

export function growUint32(column: Uint32Array): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(column.length * 2);
  grown.set(column);
  return grown;
}

export function growInt32(column: Int32Array): Int32Array<ArrayBuffer> {
  const grown = new Int32Array(column.length * 2);
  grown.set(column);
  return grown;
}

export function growFloat64(column: Float64Array): Float64Array<ArrayBuffer> {
  const grown = new Float64Array(column.length * 2);
  grown.set(column);
  return grown;
}
