// `native_histogram_bucket_limit` and `native_histogram_min_bucket_factor`: coarser buckets, until there are few enough.
import { AppError } from '../../lib/core/errors.ts';
import type { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { SCHEMA_MAX, SCHEMA_MIN } from '../../lib/model/histogram-parts.ts';

export interface HistogramLimits {
  /** Most buckets, positive and negative ones together; 0 means no limit. */
  readonly bucketLimit: number;
  /** Finest resolution kept. */
  readonly schemaMax: number;
}

/** The finest schema whose buckets grow by `factor` at least; factors that no schema has give the nearest one. */
export function schemaOfFactor(factor: number): number {
  if (!(factor > 1)) return SCHEMA_MAX;
  const schema = -Math.ceil(Math.log2(Math.log2(factor)));
  // Never −0, which encoders tell from 0.
  return Math.min(SCHEMA_MAX, Math.max(SCHEMA_MIN, schema)) + 0;
}

/**
 * Lowers the resolution of a histogram, in place, until it keeps the limits.
 *
 * @throws AppError `resource_exhausted` when no resolution does: the scrape fails, as in Prometheus.
 */
export function limitHistogram(histogram: FloatHistogram, limits: HistogramLimits): void {
  histogram.reduceTo(limits.schemaMax);
  if (limits.bucketLimit === 0) return;
  for (;;) {
    const buckets = histogram.positive.indexes.length + histogram.negative.indexes.length;
    if (buckets <= limits.bucketLimit) return;
    if (histogram.hasCustomBounds || histogram.schema <= SCHEMA_MIN) {
      throw new AppError(
        'resource_exhausted',
        `histogram bucket limit exceeded: ${buckets} buckets, the limit is ${limits.bucketLimit} (native_histogram_bucket_limit)`,
      );
    }
    histogram.reduceTo(histogram.schema - 1);
  }
}
