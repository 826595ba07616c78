// The distributor's metrics. Per-write counters; nothing here is touched per sample.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type DistributorMetrics = ReturnType<typeof createDistributorMetrics>;

/** Values read when the metrics are asked for. */
export interface DistributorGauges {
  series(): number;
  seriesBytes(): number;
  inFlight(): Iterable<{ readonly instance: string; readonly requests: number; readonly bytes: number }>;
}

/** Registers the metrics; once per registry. */
export function createDistributorMetrics(registry: Registry, gauges: DistributorGauges) {
  const registers = [registry];
  new Gauge({
    name: 'tidemark_distributor_series',
    help: 'Series that this process knows a reference of.',
    registers,
    collect() {
      this.set(gauges.series());
    },
  });
  new Gauge({
    name: 'tidemark_distributor_series_memory_bytes',
    help: 'Memory of the series table: label bytes, slots and hash tables.',
    registers,
    collect() {
      this.set(gauges.seriesBytes());
    },
  });
  new Gauge({
    name: 'tidemark_distributor_in_flight_requests',
    help: 'Append requests that an ingester has not answered.',
    labelNames: ['ingester'] as const,
    registers,
    collect() {
      this.reset();
      for (const { instance, requests } of gauges.inFlight()) this.set({ ingester: instance }, requests);
    },
  });
  new Gauge({
    name: 'tidemark_distributor_in_flight_bytes',
    help: 'Bytes of append requests that an ingester has not answered.',
    labelNames: ['ingester'] as const,
    registers,
    collect() {
      this.reset();
      for (const { instance, bytes } of gauges.inFlight()) this.set({ ingester: instance }, bytes);
    },
  });
  return {
    samplesWritten: new Counter({
      name: 'tidemark_distributor_samples_written_total',
      help: 'Samples acknowledged by a quorum of replicas.',
      registers,
    }),
    samplesRejected: new Counter({
      name: 'tidemark_distributor_samples_rejected_total',
      help: 'Samples refused for good, by reason.',
      labelNames: ['reason'] as const,
      registers,
    }),
    exemplars: new Counter({
      name: 'tidemark_distributor_exemplars_total',
      help: 'Exemplars, by outcome: written, or rejected for their timestamp or size.',
      labelNames: ['outcome'] as const,
      registers,
    }),
    seriesRejected: new Counter({
      name: 'tidemark_distributor_series_rejected_total',
      help: 'Label sets refused, by reason.',
      labelNames: ['reason'] as const,
      registers,
    }),
    seriesForgotten: new Counter({
      name: 'tidemark_distributor_series_forgotten_total',
      help: 'Series forgotten because nothing was written to them for long.',
      registers,
    }),
    writes: new Counter({
      name: 'tidemark_distributor_writes_total',
      help: 'Writes by outcome: ok, or the error code.',
      labelNames: ['outcome'] as const,
      registers,
    }),
    writeSeconds: new Histogram({
      name: 'tidemark_distributor_write_duration_seconds',
      help: 'Time from a write to its quorum or failure.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    appendBytes: new Counter({
      name: 'tidemark_distributor_append_bytes_total',
      help: 'Bytes of append batches sent to ingesters.',
      registers,
    }),
    replicasSkipped: new Counter({
      name: 'tidemark_distributor_replicas_skipped_total',
      help: 'Requests that a replica never got, because its window was full when the others had made the quorum.',
      labelNames: ['ingester'] as const,
      registers,
    }),
    sessionFailures: new Counter({
      name: 'tidemark_distributor_stream_failures_total',
      help: 'Append streams that ended in an error.',
      labelNames: ['ingester'] as const,
      registers,
    }),
  };
}
