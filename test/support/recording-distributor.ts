// A distributor in memory that honours its contract: references per label set, samples copied out of the columns, values kept
// as words so that staleness markers can be told from ordinary NaNs. Can be told to fail, and to forget references.
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { AppError } from '../../services/lib/core/errors.ts';
import type {
  Appender,
  Distributor,
  SeriesReference,
  WriteColumns,
  WriteOutcome,
} from '../../services/lib/distributor/appender.ts';
import { EXTRA_HISTOGRAM } from '../../services/lib/model/extra-columns.ts';
import { decodeLabels, encodeLabels, type Labels } from '../../services/lib/model/labels.ts';
import { isStaleAt, wordsOf } from '../../services/lib/model/sample-columns.ts';
import type { MetricMetadata } from '../../services/lib/wire/contracts.ts';

export interface RecordedSample {
  readonly timestampMs: number;
  /** NaN for every NaN. */
  readonly value: number;
  /** The bits are exactly those of the staleness marker. */
  readonly stale: boolean;
  readonly high: number;
  readonly low: number;
}

/** A native histogram, start time or exemplar. */
export interface RecordedExtra {
  readonly series: string;
  readonly timestampMs: number;
  /** EXTRA_… */
  readonly kind: number;
  readonly bytes: Uint8Array;
}

export class RecordingDistributor implements Distributor {
  /** Series as Prometheus prints it → its samples in the order written. */
  readonly samples = new Map<string, RecordedSample[]>();
  readonly metadata = new Map<string, MetricMetadata>();
  /** In the order written. */
  readonly extras: RecordedExtra[] = [];
  /** How often a label set was resolved. */
  resolved = 0;
  writes = 0;
  /** Every write fails with it while set. */
  failure: AppError | undefined;
  /** `resolve` fails with what it gives. */
  refuse: (labels: Labels) => AppError | undefined = () => undefined;
  readonly #names: string[] = [];
  readonly #labels: Labels[] = [];
  readonly #references = new Map<string, SeriesReference>();

  appender(): Appender {
    return {
      resolve: (labels) => this.#resolve(labels),
      resolveBytes: (bytes, start, end) => this.#resolve(decodeLabels(bytes, start, end)),
      labelsOf: (reference) => {
        const labels = this.#labels[reference];
        if (!this.#names[reference] || labels === undefined) return undefined;
        const bytes = new ByteWriter(64);
        encodeLabels(labels, bytes);
        return { bytes: bytes.bytes, start: 0, end: bytes.length };
      },
      write: (columns, metadata) => this.#write(columns, metadata),
    };
  }

  /** All references given so far fail from now on. */
  forgetReferences(): void {
    this.#references.clear();
    this.#names.fill('');
  }

  series(name: string): readonly RecordedSample[] {
    return this.samples.get(name) ?? [];
  }

  /** Series that have samples, sorted. */
  names(): string[] {
    return [...this.samples.keys()].toSorted();
  }

  #resolve(labels: Labels): SeriesReference {
    const error = this.refuse(labels);
    if (error !== undefined) throw error;
    this.resolved++;
    const name = labels.toString();
    let reference = this.#references.get(name);
    if (reference === undefined) {
      reference = this.#names.length;
      this.#names.push(name);
      this.#labels.push(labels);
      this.#references.set(name, reference);
    }
    return reference;
  }

  /** Keeps the extras; returns how many are histograms. */
  #keepExtras({ extras }: WriteColumns): number {
    let histograms = 0;
    for (let i = 0; i < (extras?.count ?? 0); i++) {
      const kind = extras!.kinds[i]!;
      if (kind === EXTRA_HISTOGRAM) histograms++;
      this.extras.push({
        series: this.#names[extras!.references[i]!]!,
        timestampMs: extras!.timestampsMs[i]!,
        kind,
        bytes: extras!.bytes.slice(extras!.starts[i], extras!.ends[i]),
      });
    }
    return histograms;
  }

  async #write(columns: WriteColumns, metadata: readonly MetricMetadata[]): Promise<WriteOutcome> {
    // The columns belong to us until the promise settles: reading them late finds writers that reuse them early.
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (this.failure !== undefined) throw this.failure;
    const count = columns.count;
    for (let i = 0; i < count; i++) {
      if (!this.#names[columns.references[i]!])
        throw new AppError('failed_precondition', 'a reference was forgotten');
    }
    this.writes++;
    const words = wordsOf(columns.values);
    for (let i = 0; i < count; i++) {
      const name = this.#names[columns.references[i]!]!;
      const list = this.samples.get(name) ?? [];
      list.push({
        timestampMs: columns.timestampsMs[i]!,
        value: columns.values[i]!,
        stale: isStaleAt(words, i) && words[2 * i + 1] === 0x7ff00000,
        high: words[2 * i + 1]!,
        low: words[2 * i]!,
      });
      this.samples.set(name, list);
    }
    for (const each of metadata) this.metadata.set(each.metric, each);
    const histograms = this.#keepExtras(columns);
    return {
      written: count + histograms,
      histogramsWritten: histograms,
      rejected: 0,
      exemplarsWritten: 0,
      exemplarsRejected: 0,
      firstRejection: undefined,
    };
  }
}
