// Writes remote write requests of both versions, field by field, from the schemas (prompb/types.proto,
// prompb/io/prometheus/write/v2/types.proto): for tests and load generators. Order, gaps and nonsense are the caller's choice.

export type Pair = readonly [string, string];

/** A protobuf varint of a non-negative integer or, as two's complement, of a negative one. */
export function varint(value: number | bigint): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

/** A length-delimited field. */
export function field(number: number, body: Uint8Array | string): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

/** A varint field. */
export function varintField(number: number, value: number | bigint): Buffer {
  return Buffer.concat([varint(number * 8), varint(value)]);
}

/** A double field, from the two words of its bits so that NaN payloads arrive. */
export function doubleField(
  number: number,
  value: number | { readonly high: number; readonly low: number },
): Buffer {
  const bytes = Buffer.alloc(8);
  if (typeof value === 'number') bytes.writeDoubleLE(value);
  else {
    bytes.writeUInt32LE(value.low >>> 0, 0);
    bytes.writeUInt32LE(value.high >>> 0, 4);
  }
  return Buffer.concat([varint(number * 8 + 1), bytes]);
}

export type Value = number | { readonly high: number; readonly low: number };

/** A Sample; both versions. Zero timestamps are left out, as proto3 encoders do. */
export function sample(value: Value, timestampMs: number | bigint): Buffer {
  const timestamp = BigInt(timestampMs) === 0n ? Buffer.alloc(0) : varintField(2, timestampMs);
  return Buffer.concat([doubleField(1, value), timestamp]);
}

export function labelV1([name, value]: Pair): Buffer {
  return field(1, Buffer.concat([field(1, name), field(2, value)]));
}

/** WriteRequest.timeseries of the usual form: labels, then samples. */
export function seriesV1(
  labels: readonly Pair[],
  samples: readonly (readonly [Value, number | bigint])[],
): Buffer {
  return field(
    1,
    Buffer.concat([...labels.map(labelV1), ...samples.map(([value, time]) => field(2, sample(value, time)))]),
  );
}

export function metadataV1(type: number, metric: string, help: string, unit: string): Buffer {
  return field(3, Buffer.concat([varintField(1, type), field(2, metric), field(4, help), field(5, unit)]));
}

export interface SeriesV2 {
  readonly labels: readonly Pair[];
  readonly samples?: readonly (readonly [Value, number | bigint])[];
  readonly metadata?: { readonly type: number; readonly help: string; readonly unit: string };
  /** Number of histograms and exemplars, which are empty messages. */
  readonly histograms?: number;
  readonly exemplars?: number;
}

/** A whole 2.0 request with its symbol table. */
export function requestV2(series: readonly SeriesV2[]): Buffer {
  const symbols = new Map<string, number>([['', 0]]);
  const refer = (text: string): number => {
    const known = symbols.get(text);
    if (known !== undefined) return known;
    symbols.set(text, symbols.size);
    return symbols.size - 1;
  };
  const bodies = series.map((one) => {
    const references = one.labels.flatMap(([name, value]) => [varint(refer(name)), varint(refer(value))]);
    const parts = [field(1, Buffer.concat(references))];
    for (const [value, time] of one.samples ?? []) parts.push(field(2, sample(value, time)));
    for (let i = 0; i < (one.histograms ?? 0); i++) parts.push(field(3, ''));
    for (let i = 0; i < (one.exemplars ?? 0); i++) parts.push(field(4, ''));
    if (one.metadata !== undefined) {
      const { type, help, unit } = one.metadata;
      parts.push(
        field(
          5,
          Buffer.concat([varintField(1, type), varintField(3, refer(help)), varintField(4, refer(unit))]),
        ),
      );
    }
    return field(5, Buffer.concat(parts));
  });
  return Buffer.concat([...[...symbols.keys()].map((symbol) => field(4, symbol)), ...bodies]);
}
