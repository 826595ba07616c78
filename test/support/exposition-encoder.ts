// Writes Prometheus' protobuf exposition from its schema (io.prometheus.client, metrics.proto): delimited MetricFamily
// messages, for tests and for targets that tests serve.
import {
  doubleField,
  field,
  type Pair,
  type SideFields,
  sideFields,
  varint,
  varintField,
  zigzagField,
} from './remote-write-encoder.ts';

export const PROTOBUF_TYPE =
  'application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited';

const TYPES = { counter: 0, gauge: 1, summary: 2, untyped: 3, histogram: 4, gaugehistogram: 5 } as const;
const VALUE_FIELDS = {
  counter: 3,
  gauge: 2,
  summary: 4,
  untyped: 5,
  histogram: 7,
  gaugehistogram: 7,
} as const;

export interface ExposedExemplar {
  readonly labels: readonly Pair[];
  readonly value: number;
  readonly timestampMs?: number;
}

export interface ExposedHistogram {
  readonly count: number;
  readonly sum: number;
  /** Counts are sent as floats. */
  readonly float?: boolean;
  /** Upper bound, cumulative count, exemplar. */
  readonly buckets?: readonly (readonly [number, number, ExposedExemplar?])[];
  readonly schema?: number;
  readonly zeroThreshold?: number;
  readonly zeroCount?: number;
  readonly positive?: SideFields;
  readonly negative?: SideFields;
  readonly startMs?: number;
  readonly exemplars?: readonly ExposedExemplar[];
}

export interface ExposedMetric {
  readonly labels?: readonly Pair[];
  readonly timestampMs?: number;
  /** Counter, gauge, untyped. */
  readonly value?: number;
  readonly exemplar?: ExposedExemplar;
  readonly startMs?: number;
  readonly histogram?: ExposedHistogram;
  readonly summary?: {
    readonly count: number;
    readonly sum: number;
    readonly quantiles: readonly (readonly [number, number])[];
    readonly startMs?: number;
  };
}

export interface ExposedFamily {
  readonly name: string;
  readonly help?: string;
  readonly type: keyof typeof TYPES;
  readonly unit?: string;
  readonly metrics: readonly ExposedMetric[];
}

/** A whole exposition. */
export function exposition(families: readonly ExposedFamily[]): Buffer {
  return Buffer.concat(
    families.map((family) => {
      const body = Buffer.concat([
        field(1, family.name),
        ...(family.help === undefined ? [] : [field(2, family.help)]),
        varintField(3, TYPES[family.type]),
        ...family.metrics.map((metric) => field(4, metricOf(family.type, metric))),
        ...(family.unit === undefined ? [] : [field(5, family.unit)]),
      ]);
      return Buffer.concat([varint(body.length), body]);
    }),
  );
}

function metricOf(type: ExposedFamily['type'], metric: ExposedMetric): Buffer {
  return Buffer.concat([
    ...(metric.labels ?? []).map(labelPair),
    field(VALUE_FIELDS[type], metricValue(type, metric)),
    ...(metric.timestampMs === undefined ? [] : [varintField(6, metric.timestampMs)]),
  ]);
}

function metricValue(type: ExposedFamily['type'], metric: ExposedMetric): Buffer {
  const { summary, histogram } = metric;
  if (type === 'summary') {
    return Buffer.concat([
      varintField(1, summary!.count),
      doubleField(2, summary!.sum),
      ...summary!.quantiles.map(([quantile, value]) =>
        field(3, Buffer.concat([doubleField(1, quantile), doubleField(2, value)])),
      ),
      ...timestampField(4, summary!.startMs),
    ]);
  }
  if (type === 'histogram' || type === 'gaugehistogram') return histogramOf(histogram!);
  return Buffer.concat([
    doubleField(1, metric.value!),
    ...(metric.exemplar === undefined ? [] : [field(2, exemplarOf(metric.exemplar))]),
    ...timestampField(3, metric.startMs),
  ]);
}

function histogramOf(histogram: ExposedHistogram): Buffer {
  const { float = false, count, sum, zeroCount, zeroThreshold, schema } = histogram;
  return Buffer.concat([
    float ? doubleField(4, count) : varintField(1, count),
    doubleField(2, sum),
    ...(histogram.buckets ?? []).map(([bound, cumulative, exemplar]) =>
      field(
        3,
        Buffer.concat([
          float ? doubleField(4, cumulative) : varintField(1, cumulative),
          doubleField(2, bound),
          ...(exemplar === undefined ? [] : [field(3, exemplarOf(exemplar))]),
        ]),
      ),
    ),
    ...(schema === undefined ? [] : [zigzagField(5, schema)]),
    ...(zeroThreshold === undefined ? [] : [doubleField(6, zeroThreshold)]),
    ...(zeroCount === undefined ? [] : [float ? doubleField(8, zeroCount) : varintField(7, zeroCount)]),
    sideFields(9, histogram.negative, false),
    sideFields(12, histogram.positive, false),
    ...timestampField(15, histogram.startMs),
    ...(histogram.exemplars ?? []).map((exemplar) => field(16, exemplarOf(exemplar))),
  ]);
}

function exemplarOf({ labels, value, timestampMs }: ExposedExemplar): Buffer {
  return Buffer.concat([...labels.map(labelPair), doubleField(2, value), ...timestampField(3, timestampMs)]);
}

function labelPair([name, value]: Pair): Buffer {
  return field(1, Buffer.concat([field(1, name), field(2, value)]));
}

/** A google.protobuf.Timestamp. */
function timestampField(number: number, timeMs: number | undefined): Buffer[] {
  if (timeMs === undefined) return [];
  const seconds = Math.floor(timeMs / 1000);
  return [
    field(number, Buffer.concat([varintField(1, seconds), varintField(2, (timeMs - seconds * 1000) * 1e6)])),
  ];
}
