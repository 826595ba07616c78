// The ingester's own metrics.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Values that are read when metrics are asked for. */
export interface IngesterGauges {
  readonly series: () => number;
  readonly chunks: () => number;
  readonly headBytes: () => number;
  readonly logBytes: () => number;
  readonly logBytesInFlight: () => number;
  readonly imageBytes: () => number;
  readonly replayBytes: () => number;
  readonly startSeconds: () => number;
  readonly streams: () => number;
  readonly samples: () => number;
  readonly duplicates: () => number;
  readonly outOfOrder: () => number;
  readonly exemplars: () => number;
}

export interface IngesterMetrics {
  /** By `outcome`: durable, unavailable, partial, fenced, refused. */
  readonly requests: Counter<'outcome'>;
  readonly commitSeconds: Histogram;
  readonly commitBytes: Counter;
  readonly logQuarantined: Counter;
  readonly logTruncatedBytes: Counter;
  readonly replayUnknownSamples: Counter;
  /** Segments of the log that the start replays, by `which`: first, last, current; the last one is current when it is over. */
  readonly replaySegment: Gauge<'which'>;
  /** By `result`: sealed, failed. */
  readonly seals: Counter<'result'>;
  readonly sealedSamples: Counter;
  readonly seriesLeft: Counter;
  readonly seriesRefused: Counter;
  /** Appends and confirmations of holders whose lease another took. */
  readonly fenced: Counter;
  readonly unheardFences: Counter;
  /** Head images by `result`: written, failed, loaded, damaged. */
  readonly images: Counter<'result'>;
  readonly imageBytes: Counter;
  readonly selectedSeries: Counter;
  readonly limitHits: Counter;
}

export function createIngesterMetrics(registry: Registry, gauges: IngesterGauges): IngesterMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  const running = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  gauge('tidemark_ingester_series', 'Series in memory.', gauges.series);
  gauge('tidemark_ingester_chunks', 'Chunks in memory, open ones too.', gauges.chunks);
  gauge('tidemark_ingester_head_bytes', 'Bytes of the heads: labels, postings, chunks.', gauges.headBytes);
  gauge('tidemark_ingester_log_bytes', 'Bytes of the log segments on disk.', gauges.logBytes);
  gauge(
    'tidemark_ingester_head_image_bytes',
    'Bytes of the head image on disk, chunk files too.',
    gauges.imageBytes,
  );
  gauge(
    'tidemark_ingester_replay_pending_bytes',
    'Bytes of the log that a start would have to replay behind the head image.',
    gauges.replayBytes,
  );
  gauge(
    'tidemark_ingester_start_estimated_seconds',
    'How long a start would take now, head image and log behind it, as far as it can be told.',
    gauges.startSeconds,
  );
  gauge('tidemark_ingester_log_bytes_in_flight', 'Bytes that wait for fdatasync.', gauges.logBytesInFlight);
  gauge('tidemark_ingester_append_streams', 'Append streams that are open.', gauges.streams);
  running('tidemark_ingester_samples_appended_total', 'Samples taken into the heads.', gauges.samples);
  running(
    'tidemark_ingester_samples_duplicate_total',
    'Samples that repeat the newest one of their series.',
    gauges.duplicates,
  );
  running(
    'tidemark_ingester_samples_out_of_order_total',
    'Samples older than the newest one of their series.',
    gauges.outOfOrder,
  );
  running('tidemark_ingester_exemplars_appended_total', 'Exemplars taken into the heads.', gauges.exemplars);
  return {
    replaySegment: new Gauge({
      name: 'tidemark_ingester_replay_segment',
      help: 'Segments of the log that the start replays: the first and the last one, and the one under way.',
      labelNames: ['which'],
      registers,
    }),
    requests: new Counter({
      name: 'tidemark_ingester_append_requests_total',
      help: 'Append requests, by outcome.',
      labelNames: ['outcome'],
      registers,
    }),
    commitSeconds: new Histogram({
      name: 'tidemark_ingester_log_commit_seconds',
      help: 'Write and fdatasync of one group of records.',
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    commitBytes: counter('tidemark_ingester_log_written_bytes_total', 'Bytes written to the log.'),
    logQuarantined: counter(
      'tidemark_ingester_log_quarantined_total',
      'Damaged or unreadable pieces of the log that were set aside at a start. Samples in them are lost on this replica.',
    ),
    logTruncatedBytes: counter(
      'tidemark_ingester_log_truncated_bytes_total',
      'Bytes of torn writes cut off at a start.',
    ),
    replayUnknownSamples: counter(
      'tidemark_ingester_replay_unknown_samples_total',
      'Samples in the log whose series was defined in a damaged piece.',
    ),
    seals: new Counter({
      name: 'tidemark_ingester_seals_total',
      help: 'Attempts to turn a time range into a block on the stores, by result.',
      labelNames: ['result'],
      registers,
    }),
    sealedSamples: counter('tidemark_ingester_sealed_samples_total', 'Samples that went into blocks.'),
    images: new Counter({
      name: 'tidemark_ingester_head_images_total',
      help: 'Head images, by result: written, failed; at a start loaded, or damaged and the log was replayed instead.',
      labelNames: ['result'],
      registers,
    }),
    imageBytes: counter('tidemark_ingester_head_image_written_bytes_total', 'Bytes written to head images.'),
    seriesLeft: counter('tidemark_ingester_series_left_total', 'Series that left memory.'),
    unheardFences: counter(
      'tidemark_ingester_fences_unheard_total',
      'Appends under a lease that were not taken because too few other ingesters could be asked who holds it.',
    ),
    fenced: counter(
      'tidemark_ingester_fenced_total',
      'Appends that were refused because their lease has a later holder: a process that was stopped woke up and went on.',
    ),
    seriesRefused: counter(
      'tidemark_ingester_series_refused_total',
      'Series that were not admitted because their tenant has as many as it may; counted at every question.',
    ),
    selectedSeries: counter('tidemark_ingester_selected_series_total', 'Series sent to queriers.'),
    limitHits: counter('tidemark_ingester_select_limit_hits_total', 'Selects refused for too many series.'),
  };
}
