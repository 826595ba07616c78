// Settings of the scraper, with the reason for each default.

export interface ScraperOptions {
  /** Of the product; stands in the User-Agent of scrapes. */
  readonly version: string;
  /** Whose series the samples become. */
  readonly tenant?: string;
  /** Host name under which this machine is reached from outside: replaces loopback addresses in `globalUrl`. */
  readonly externalHost?: string;
  /**
   * Largest exposition that is read where the file sets no body_size_limit, decompressed bytes. The largest real ones
   * (kube-state-metrics of a big cluster) are about 100 MiB.
   */
  readonly bodyBytesMax?: number;
  /** Most samples that wait in memory while the distributor takes none: 2 million are 40 MB. The oldest go first. */
  readonly spoolSamplesMax?: number;
  /** Where samples wait that the distributor does not take; without it they wait in memory and die with the process. */
  readonly spoolFolder?: string;
  /** Most bytes of that folder; the oldest samples go first. */
  readonly spoolBytesMax?: number;
  /** Most writes under way at one time: enough to fill group commits, few enough to bound what is in flight. */
  readonly writesInFlightMax?: number;
  /** Scrapes of so many milliseconds are written together; 0: each by itself. */
  readonly writeGatherMs?: number;
  /** Most dropped targets kept per job for the targets API, whatever keep_dropped_targets says. */
  readonly droppedTargetsMax?: number;
}

/** Of the data directory. */
export const SPOOL_FOLDER = 'scraper-spool';
export const DEFAULT_BODY_BYTES_MAX = 256 * 1024 * 1024;
export const DEFAULT_SPOOL_SAMPLES_MAX = 2_000_000;
export const DEFAULT_SPOOL_BYTES_MAX = 2 ** 30;
export const DEFAULT_WRITES_IN_FLIGHT_MAX = 32;
/** At 130 scrapes a second 13 are one write, which costs little more than one of them. */
export const DEFAULT_WRITE_GATHER_MS = 100;
export const DEFAULT_DROPPED_TARGETS_MAX = 10_000;
