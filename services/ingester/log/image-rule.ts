// When a head image is due: so often that a start at any moment, the middle of writing one included, takes less than it may. What a
// start costs is counted (bytes and series of the image, samples and series of the log behind it) and turned into time by what was
// measured. No clock and no disk here: the caller says what time it is and how much there is.

/** What a start would have to do. */
export interface StartWork {
  /** Bytes and series of the image, chunk files too; 0 without one. */
  readonly imageBytes: number;
  readonly imageSeries: number;
  /** What the log behind it has. */
  readonly samples: number;
  readonly series: number;
}

/**
 * CPU of a start, nanoseconds, measured at a million series (restart.bench.ts): loading an image is making the index anew and copying
 * chunks; replay is decoding and appending, and for a new series the index.
 */
const IMAGE_BYTE_NS = 2;
const IMAGE_SERIES_NS = 2200;
const SAMPLE_NS = 200;
const SERIES_NS = 3000;

/** A start of which less was counted tells nothing about the machine. */
const LEARNED_MS_MIN = 300;
/** A machine is that much faster or slower than the one of the figures; beyond that the start waited for something else. */
const SLOWNESS_MIN = 0.5;
const SLOWNESS_MAX = 3;

/** Turns the work of a start into time. */
export class StartCost {
  #slowness = 1;

  /** Milliseconds that a start takes for this. */
  estimateMs(work: StartWork): number {
    return this.#slowness * countedMs(work);
  }

  /** Learns from a start how fast this machine is. */
  learn(work: StartWork, elapsedMs: number): void {
    const counted = countedMs(work);
    if (counted < LEARNED_MS_MIN) return;
    this.#slowness = Math.min(SLOWNESS_MAX, Math.max(SLOWNESS_MIN, elapsedMs / counted));
  }
}

function countedMs({ imageBytes, imageSeries, samples, series }: StartWork): number {
  return (
    (imageBytes * IMAGE_BYTE_NS + imageSeries * IMAGE_SERIES_NS + samples * SAMPLE_NS + series * SERIES_NS) /
    1e6
  );
}

export interface ImageRuleOptions {
  /** An image is due after so many bytes of log, or a quarter of the one before where that is more. */
  readonly imageLogBytes: number;
  /** And after this long, where there is something new. */
  readonly imageIntervalMs: number;
  /** What a start may take with up to a million series, and with each further million. */
  readonly imageStartMs: number;
}

/** What is to be known at a look. */
export interface ImageState {
  readonly nowMs: number;
  /** When the image before was done, or the process began. */
  readonly writtenMs: number;
  readonly work: StartWork;
  /** Log that a start would replay. */
  readonly logBytes: number;
  /** Bytes of the image itself, which is written anew each time; chunk files are not. */
  readonly imageBytes: number;
  /** What writing one will take, and how long until the next look. */
  readonly writeMs: number;
  readonly lookMs: number;
  readonly seriesCount: number;
}

/** Less log than this since the last image is not worth one. */
const LOG_BYTES_MIN = 1 << 20;
/** However long a start takes, an image is never more than so many times the log that it spares. */
const AMPLIFICATION_MAX = 16;
/** An image that spares a start less than this share of its own loading is not worth it, where loading alone takes long. */
const REPLAY_SHARE_MIN = 1 / 4;
/** Of the fastest growth seen, so much counts at the next look: load comes in bursts. */
const RATE_KEPT = 0.8;
/** Looks that are closer say nothing about growth. */
const LOOK_MS_MIN = 200;

export class ImageRule {
  readonly #options: ImageRuleOptions;
  readonly #cost: StartCost;
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** Replay behind the image, at the last look. */
  #replayMs = 0;
  /** Milliseconds of replay that a millisecond of load makes. */
  #rate = 0;

  constructor(options: ImageRuleOptions, cost: StartCost) {
    this.#options = options;
    this.#cost = cost;
  }

  /** Whether an image is to be begun now. To be asked at regular intervals: it watches how fast the log grows. */
  isDue(state: ImageState): boolean {
    const { imageLogBytes, imageIntervalMs, imageStartMs } = this.#options;
    const { nowMs, writtenMs, work, logBytes, imageBytes, writeMs, lookMs, seriesCount } = state;
    this.#watch(nowMs, work);
    if (logBytes >= Math.max(imageLogBytes, imageBytes / 4)) return true;
    if (logBytes < LOG_BYTES_MIN) return false;
    if (nowMs - writtenMs >= imageIntervalMs) return true;
    if (logBytes < imageBytes / AMPLIFICATION_MAX) return false;
    // What comes until the image is done is replayed behind the one before, if the process ends right then.
    const replayMs = this.#replayMs + this.#rate * (writeMs + lookMs);
    const loadMs = this.#cost.estimateMs({ ...work, samples: 0, series: 0 });
    if (replayMs < loadMs * REPLAY_SHARE_MIN) return false;
    return loadMs + replayMs >= imageStartMs * Math.max(1, seriesCount / 1e6);
  }

  #watch(nowMs: number, { samples, series }: StartWork): void {
    const elapsedMs = nowMs - this.#lookedMs;
    const replayMs = this.#cost.estimateMs({ imageBytes: 0, imageSeries: 0, samples, series });
    // Behind an image that was done in between there is less; what comes next tells.
    const grownMs = Math.max(0, replayMs - this.#replayMs);
    this.#replayMs = replayMs;
    this.#lookedMs = nowMs;
    if (elapsedMs < LOOK_MS_MIN) return;
    const rate = Number.isFinite(elapsedMs) ? grownMs / elapsedMs : 0;
    this.#rate = Math.max(rate, this.#rate * RATE_KEPT);
  }
}
