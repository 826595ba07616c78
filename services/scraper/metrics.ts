// The scraper's own metrics.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export interface ScraperMetrics {
  readonly scrapes: Counter<'outcome'>;
  readonly scrapeSeconds: Histogram;
  readonly lateSeconds: Histogram;
  readonly ticksSkipped: Counter;
  readonly samplesScraped: Counter;
  readonly samplesWritten: Counter;
  readonly samplesDropped: Counter<'reason'>;
  readonly writesFailed: Counter<'code'>;
  readonly bodyBytes: Counter;
  readonly discoveryErrors: Counter;
  readonly failureLogLines: Counter<'outcome'>;
}

/** Gauges that are read when asked for. */
export interface ScraperState {
  activeTargets(): number;
  droppedTargets(): number;
  cachedSeries(): number;
  spooledSamples(): number;
  spoolBytes(): number;
}

export function createMetrics(registry: Registry, state: ScraperState): ScraperMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge('tidemark_scraper_targets', 'Targets that are scraped.', () => state.activeTargets());
  gauge('tidemark_scraper_dropped_targets', 'Targets that relabelling dropped.', () =>
    state.droppedTargets(),
  );
  gauge('tidemark_scraper_cached_series', 'Series texts known from earlier scrapes.', () =>
    state.cachedSeries(),
  );
  gauge(
    'tidemark_scraper_spooled_samples',
    'Samples that wait for the distributor, in memory and on disk.',
    () => state.spooledSamples(),
  );
  gauge('tidemark_scraper_spool_bytes', 'Bytes of spool files; the limit is --scrape.spool-size.', () =>
    state.spoolBytes(),
  );
  return {
    scrapes: new Counter({
      name: 'tidemark_scraper_scrapes_total',
      help: 'Scrapes by outcome: success, failed to fetch, or failed to understand.',
      labelNames: ['outcome'],
      registers,
    }),
    scrapeSeconds: new Histogram({
      name: 'tidemark_scraper_scrape_duration_seconds',
      help: 'From the start of a scrape until its samples are ready to be written.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    }),
    lateSeconds: new Histogram({
      name: 'tidemark_scraper_late_seconds',
      help: 'How long after their time scrapes start.',
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
      registers,
    }),
    ticksSkipped: new Counter({
      name: 'tidemark_scraper_skipped_scrapes_total',
      help: 'Scrapes left out because the one before took too long or the process was busy.',
      registers,
    }),
    samplesScraped: new Counter({
      name: 'tidemark_scraper_samples_scraped_total',
      help: 'Samples in expositions, before relabelling.',
      registers,
    }),
    samplesWritten: new Counter({
      name: 'tidemark_scraper_samples_written_total',
      help: 'Samples durable in the cluster, staleness markers and scrape_* included.',
      registers,
    }),
    samplesDropped: new Counter({
      name: 'tidemark_scraper_samples_dropped_total',
      help: 'Samples that were scraped and will not be written, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    writesFailed: new Counter({
      name: 'tidemark_scraper_writes_failed_total',
      help: 'Writes that the distributor did not take, by error code; unavailable ones are tried again.',
      labelNames: ['code'],
      registers,
    }),
    bodyBytes: new Counter({
      name: 'tidemark_scraper_body_bytes_total',
      help: 'Bytes of expositions, decompressed.',
      registers,
    }),
    failureLogLines: new Counter({
      name: 'tidemark_scraper_failure_log_lines_total',
      help: 'Failed scrapes for scrape_failure_log_file: written, or dropped because the file cannot be written.',
      labelNames: ['outcome'],
      registers,
    }),
    discoveryErrors: new Counter({
      name: 'tidemark_scraper_discovery_errors_total',
      help: 'Attempts of service discovery that failed, and monitors that cannot be used.',
      registers,
    }),
  };
}
