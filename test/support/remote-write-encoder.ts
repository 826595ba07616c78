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

/** A zigzag varint field (sint32, sint64). */
export function zigzagField(number: number, value: number | bigint): Buffer {
  const wide = BigInt(value);
  return varintField(number, wide < 0n ? -2n * wide - 1n : 2n * wide);
}

/** The buckets of one sign: spans of [offset, length], and deltas (integer histograms) or counts. */
export interface SideFields {
  readonly spans: readonly (readonly [number, number])[];
  readonly deltas?: readonly (number | bigint)[];
  readonly counts?: readonly number[];
}

/** A native histogram; `float` decides how its counts are sent. */
export interface HistogramFields {
  readonly timestampMs: number | bigint;
  readonly count: number;
  readonly sum: Value;
  readonly float?: boolean;
  readonly schema?: number;
  readonly zeroThreshold?: number;
  readonly zeroCount?: number;
  readonly positive?: SideFields;
  readonly negative?: SideFields;
  readonly customValues?: readonly number[];
  /** 1 reset, 2 no reset, 3 gauge. */
  readonly resetHint?: number;
  /** 2.0 only. */
  readonly startMs?: number;
}

/** The fields of spans, deltas and counts, whose numbers follow each other. */
export function sideFields(first: number, side: SideFields | undefined, packed: boolean): Buffer {
  if (side === undefined) return Buffer.alloc(0);
  const { spans, deltas = [], counts = [] } = side;
  const zigzags = deltas.map((delta) => zigzagField(1, delta).subarray(1));
  const doubles = counts.map((count) => doubleField(1, count).subarray(1));
  return Buffer.concat([
    ...spans.map(([offset, length]) =>
      field(first, Buffer.concat([zigzagField(1, offset), varintField(2, length)])),
    ),
    ...repeated(first + 1, 0, zigzags, packed),
    ...repeated(first + 2, 1, doubles, packed),
  ]);
}

function repeated(number: number, wireType: number, values: readonly Buffer[], packed: boolean): Buffer[] {
  if (values.length === 0) return [];
  if (packed) return [field(number, Buffer.concat(values))];
  return values.map((value) => Buffer.concat([varint(number * 8 + wireType), value]));
}

/** A Histogram message of remote write, both versions. */
export function histogram(fields: HistogramFields, packed = true): Buffer {
  const { float = false, count, sum, schema = 0, zeroThreshold = 0, zeroCount = 0 } = fields;
  const bounds = (fields.customValues ?? []).map((bound) => doubleField(1, bound).subarray(1));
  return Buffer.concat([
    float ? doubleField(2, count) : varintField(1, count),
    doubleField(3, sum),
    zigzagField(4, schema),
    doubleField(5, zeroThreshold),
    float ? doubleField(7, zeroCount) : varintField(6, zeroCount),
    sideFields(8, fields.negative, packed),
    sideFields(11, fields.positive, packed),
    varintField(14, fields.resetHint ?? 0),
    varintField(15, fields.timestampMs),
    ...repeated(16, 1, bounds, packed),
    ...(fields.startMs === undefined ? [] : [varintField(17, fields.startMs)]),
  ]);
}

export interface ExemplarFields {
  readonly labels: readonly Pair[];
  readonly value: number;
  readonly timestampMs: number;
}

/** An Exemplar message of 1.0. */
export function exemplarV1({ labels, value, timestampMs }: ExemplarFields): Buffer {
  return Buffer.concat([...labels.map(labelV1), doubleField(2, value), varintField(3, timestampMs)]);
}

export interface SeriesV2 {
  readonly labels: readonly Pair[];
  /** Value, timestamp, and start timestamp where there is one. */
  readonly samples?: readonly (readonly [Value, number | bigint, number?])[];
  readonly metadata?: { readonly type: number; readonly help: string; readonly unit: string };
  readonly histograms?: readonly HistogramFields[];
  readonly exemplars?: readonly ExemplarFields[];
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
    for (const [value, time, startMs] of one.samples ?? []) {
      const start = startMs === undefined ? Buffer.alloc(0) : varintField(3, startMs);
      parts.push(field(2, Buffer.concat([sample(value, time), start])));
    }
    for (const each of one.histograms ?? []) parts.push(field(3, histogram(each)));
    for (const { labels, value, timestampMs } of one.exemplars ?? []) {
      const pairs = labels.flatMap(([name, text]) => [varint(refer(name)), varint(refer(text))]);
      const body = [field(1, Buffer.concat(pairs)), doubleField(2, value), varintField(3, timestampMs)];
      parts.push(field(4, Buffer.concat(body)));
    }
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
