// Metrics of the remote write endpoint; nothing here is touched per sample.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type RemoteWriteMetrics = ReturnType<typeof createRemoteWriteMetrics>;

/** Registers the metrics; once per registry. `heldBytes` is asked when they are read. */
export function createRemoteWriteMetrics(registry: Registry, heldBytes: () => number) {
  const registers = [registry];
  new Gauge({
    name: 'tidemark_gateway_remote_write_held_bytes',
    help: 'Bytes of bodies and samples that remote write requests in flight hold.',
    registers,
    collect() {
      this.set(heldBytes());
    },
  });
  return {
    requests: new Counter({
      name: 'tidemark_gateway_remote_write_requests_total',
      help: 'Remote write requests by status code (499: the client left) and protocol version.',
      labelNames: ['code', 'version'] as const,
      registers,
    }),
    seconds: new Histogram({
      name: 'tidemark_gateway_remote_write_duration_seconds',
      help: 'Time from the headers to the reply.',
      labelNames: ['version'] as const,
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    }),
    samples: new Counter({
      name: 'tidemark_gateway_remote_write_samples_total',
      help: 'Float samples received, refused ones included.',
      labelNames: ['version'] as const,
      registers,
    }),
    histograms: new Counter({
      name: 'tidemark_gateway_remote_write_histograms_total',
      help: 'Native histograms received, refused ones included.',
      labelNames: ['version'] as const,
      registers,
    }),
    exemplars: new Counter({
      name: 'tidemark_gateway_remote_write_exemplars_total',
      help: 'Exemplars received, refused ones included.',
      labelNames: ['version'] as const,
      registers,
    }),
    refused: new Counter({
      name: 'tidemark_gateway_remote_write_refused_total',
      help: 'What was received and not written, by kind and reason.',
      labelNames: ['kind', 'reason'] as const,
      registers,
    }),
    bodyBytes: new Counter({
      name: 'tidemark_gateway_remote_write_body_bytes_total',
      help: 'Compressed bytes received.',
      registers,
    }),
  };
}
