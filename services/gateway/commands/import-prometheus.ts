// Imports a data directory of Prometheus': its blocks series by series, then what only its log has. The directory is read,
// never written; a running Prometheus may hold it.
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { ByteWriter, decodeUtf8, encodeUtf8 } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { SampleColumns } from '../../lib/model/sample-columns.ts';
import {
  type BlockSink,
  PrometheusBlock,
  type PrometheusMeta,
  readPrometheusMeta,
} from '../../lib/tsdb/import/prometheus-block.ts';
import { PrometheusFileError } from '../../lib/tsdb/import/prometheus-error.ts';
import { Tombstones } from '../../lib/tsdb/import/tombstones.ts';
import { listWalSegments, type WalSegment } from '../../lib/tsdb/import/wal-folder.ts';
import { readWalRecord, type WalInterest, type WalSink } from '../../lib/tsdb/import/wal-records.ts';
import { readWalSegment, type WalDeps } from '../../lib/tsdb/import/wal-segment.ts';
import {
  decompressSnappy,
  SNAPPY_GROWTH_MAX,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../../lib/wire/compression/snappy.ts';
import type { ImportProgress } from './import-progress.ts';
import {
  putHistogram,
  putLabels,
  putSample,
  RequestCollector,
  SERIES_BYTES_TARGET,
} from './import-request.ts';
import type { ImportSender } from './import-sender.ts';
import { SeriesBuffer } from './import-series-buffer.ts';
import type { ImportState } from './import-state.ts';

/** The position in a block is noted this often: so much is sent again at most. */
const POSITION_EVERY_MS = 2000;

export interface ImportDeps {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly sender: ImportSender;
  readonly state: ImportState;
  readonly progress: ImportProgress;
}

/**
 * Imports `<dir>`.
 *
 * @throws AppError `not_found` when it has neither blocks nor a log; `unavailable` when the server takes no more.
 */
export async function importPrometheus(dir: string, deps: ImportDeps): Promise<void> {
  const { disk, state, progress } = deps;
  const blocks = await listBlocks(dir, deps);
  const segments = await listWalSegments(dir, 'wal', disk);
  const late = await listWalSegments(dir, 'wbl', disk);
  const all = [...segments, ...late];
  if (blocks.length === 0 && all.length === 0 && progress.damageCount === 0) {
    throw new AppError(
      'not_found',
      `${dir} has neither blocks nor a folder wal: name what Prometheus' --storage.tsdb.path names`,
    );
  }
  for (const { name, bytes } of [...blocks, ...all]) {
    progress.totalBytes += bytes;
    if (state.isDone(name, bytes)) progress.skippedBytes += bytes;
  }
  for (const block of blocks) if (!state.isDone(block.name, block.bytes)) await importBlock(block, deps);
  if (all.some(({ name, bytes }) => !state.isDone(name, bytes))) {
    // As Prometheus does: what the log has from before the newest block's end is in blocks, or was deleted there.
    const settled = blocks.filter(({ meta }) => !meta.isOutOfOrder).map(({ meta }) => meta.maxTimeMs);
    await new LogImport(deps, Math.max(Number.NEGATIVE_INFINITY, ...settled)).run(segments, late);
  }
}

interface BlockPart {
  readonly name: string;
  readonly folder: string;
  readonly bytes: number;
  readonly meta: PrometheusMeta;
}

/** Blocks by time. One whose description cannot be read is reported. */
async function listBlocks(dir: string, { disk, progress }: ImportDeps): Promise<BlockPart[]> {
  const found: BlockPart[] = [];
  for (const name of await disk.list(dir)) {
    if (!/^[0-9A-HJKMNP-TV-Z]{26}$/.test(name)) continue;
    const folder = path.join(dir, name);
    try {
      const meta = await readPrometheusMeta(folder, disk);
      const files = (await disk.list(path.join(folder, 'chunks'))).map((file) => path.join('chunks', file));
      let bytes = 0;
      for (const file of ['index', ...files]) bytes += (await stat(path.join(folder, file))).size;
      found.push({ name, folder, bytes, meta });
    } catch (caught) {
      progress.damage(asFileError(folder, caught));
    }
  }
  return found.sort((a, b) => a.meta.minTimeMs - b.meta.minTimeMs);
}

function asFileError(file: string, caught: unknown): PrometheusFileError {
  if (caught instanceof PrometheusFileError) return caught;
  return new PrometheusFileError(file, 0, caught instanceof Error ? caught.message : String(caught));
}

async function importBlock({ name, folder, bytes }: BlockPart, deps: ImportDeps): Promise<void> {
  const { disk, clock, sender, state, progress } = deps;
  let block: PrometheusBlock;
  try {
    block = await PrometheusBlock.open(folder, disk, progress.damage);
  } catch (caught) {
    progress.damage(asFileError(folder, caught));
    return;
  }
  try {
    const collector = new RequestCollector((request) => sender.add(request));
    const series = new SeriesInRequests(collector);
    const { seriesStart, seriesEnd } = block;
    let notedMs = clock.monotonicMs();
    for await (const next of block.readSeries(Math.max(seriesStart, state.positionOf(name, bytes)), series)) {
      await sender.settle();
      if (next === undefined) continue;
      series.finish();
      progress.tick(name, ((next - seriesStart) / Math.max(1, seriesEnd - seriesStart)) * bytes);
      if (clock.monotonicMs() - notedMs < POSITION_EVERY_MS) continue;
      collector.flush();
      await sender.drain();
      await state.setPosition(name, bytes, next);
      notedMs = clock.monotonicMs();
    }
    collector.flush();
    await sender.drain();
    if (progress.isDamaged(folder)) await state.setPosition(name, bytes, 0);
    else await state.setDone(name, bytes);
    progress.doneBytes += bytes;
  } finally {
    await block.close();
  }
}

/** Puts a block's series into requests. */
class SeriesInRequests implements BlockSink {
  readonly #collector: RequestCollector;
  readonly #labels = new ByteWriter(1024);
  readonly #contents = new ByteWriter(SERIES_BYTES_TARGET * 2);
  #samples = 0;
  #histograms = 0;

  constructor(collector: RequestCollector) {
    this.#collector = collector;
  }

  beginSeries(labels: readonly Uint8Array[]): void {
    this.finish();
    this.#labels.reset();
    putLabels(this.#labels, labels);
  }

  floats({ timestampsMs, words, count }: SampleColumns): void {
    for (let i = 0; i < count; i++) {
      putSample(this.#contents, timestampsMs[i]!, words[2 * i + 1]!, words[2 * i]!);
    }
    this.#samples += count;
    if (this.#contents.length >= SERIES_BYTES_TARGET) this.finish();
  }

  readonly histogram: BlockSink['histogram'] = (timestampMs, parts, isStale) => {
    putHistogram(this.#contents, parts, isStale, timestampMs);
    this.#histograms++;
    if (this.#contents.length >= SERIES_BYTES_TARGET) this.finish();
  };

  /** Hands over what there is of the series. */
  finish(): void {
    if (this.#contents.length === 0) return;
    this.#collector.add(
      this.#labels.bytes.subarray(0, this.#labels.length),
      this.#contents.bytes.subarray(0, this.#contents.length),
      { samples: this.#samples, histograms: this.#histograms, exemplars: 0 },
    );
    this.#contents.reset();
    this.#samples = this.#histograms = 0;
  }
}

/**
 * The log. It is read twice: first the series and what was deleted, then the samples, since a delete stands behind what it
 * deletes, and a resumed import needs the series of segments that it skips.
 */
class LogImport implements WalSink {
  readonly #deps: ImportDeps;
  readonly #wal: WalDeps;
  /** Samples before are those of blocks; not so in the log of late samples. */
  readonly #validFromMs: number;
  #fromMs: number;
  readonly #tombstones = new Tombstones();
  readonly #indexes = new Map<number, number>();
  readonly #buffer = new SeriesBuffer();
  readonly #collector: RequestCollector;
  readonly #families = new Set<string>();

  constructor(deps: ImportDeps, validFromMs: number) {
    this.#deps = deps;
    this.#validFromMs = this.#fromMs = validFromMs;
    this.#collector = new RequestCollector((request) => deps.sender.add(request));
    this.#wal = { disk: deps.disk, snappy: unpackSnappy, zstd: unpackZstd };
  }

  async run(segments: readonly WalSegment[], late: readonly WalSegment[]): Promise<void> {
    for (const segment of [...segments, ...late]) await this.#read(segment, 'series');
    for (const segment of segments) await this.#import(segment);
    this.#fromMs = Number.NEGATIVE_INFINITY;
    for (const segment of late) await this.#import(segment);
  }

  async #import(segment: WalSegment): Promise<void> {
    const { state, sender, progress } = this.#deps;
    if (state.isDone(segment.name, segment.bytes)) return;
    await this.#read(segment, 'samples');
    this.#buffer.flush(this.#collector);
    this.#collector.flush();
    await sender.drain();
    if (!progress.isDamaged(segment.file)) await state.setDone(segment.name, segment.bytes);
    progress.doneBytes += segment.bytes;
  }

  async #read({ file, name, isLast }: WalSegment, interest: WalInterest): Promise<void> {
    const { sender, progress } = this.#deps;
    const onRecord = (record: Uint8Array): void => readWalRecord(record, interest, this);
    for await (const at of readWalSegment(file, isLast, this.#wal, onRecord, progress.damage)) {
      await sender.settle();
      progress.tick(name, interest === 'series' ? 0 : at);
    }
  }

  series(reference: number, labels: readonly Uint8Array[]): void {
    if (!this.#indexes.has(reference)) this.#indexes.set(reference, this.#buffer.addSeries(labels));
  }

  tombstone(reference: number, minTimeMs: number, maxTimeMs: number): void {
    this.#tombstones.add(reference, minTimeMs, maxTimeMs);
  }

  sample(reference: number, timestampMs: number, high: number, low: number, startMs: number): void {
    const index = this.#indexOf(reference, timestampMs, startMs);
    if (index === undefined) return;
    this.#buffer.sample(index, timestampMs, high, low);
    if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
  }

  readonly histogram: WalSink['histogram'] = (reference, timestampMs, parts, isStale, startMs) => {
    const index = this.#indexOf(reference, timestampMs, startMs);
    if (index === undefined) return;
    this.#buffer.histogram(index, timestampMs, parts, isStale);
    if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
  };

  exemplar(reference: number, timestampMs: number, value: number, labels: readonly Uint8Array[]): void {
    const index = this.#indexes.get(reference);
    if (index === undefined) return;
    this.#buffer.exemplar(index, timestampMs, value, labels);
    if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
  }

  metadata(reference: number, type: number, unit: Uint8Array, help: Uint8Array): void {
    const index = this.#indexes.get(reference);
    if (index === undefined) return;
    const family = familyOf(metricNameOf(this.#buffer.labelFields(index)), type);
    if (family === '' || this.#families.has(family)) return;
    this.#families.add(family);
    this.#collector.addMetadata(type, encodeUtf8(family), help, unit);
  }

  /** Undefined when the sample is not to be sent. */
  #indexOf(reference: number, timestampMs: number, startMs: number): number | undefined {
    if (timestampMs < this.#fromMs) {
      if (this.#fromMs === this.#validFromMs) this.#deps.progress.countLeftOut(IN_BLOCKS);
      return undefined;
    }
    if (this.#tombstones.has(reference) && this.#tombstones.covers(reference, timestampMs, timestampMs))
      return undefined;
    const index = this.#indexes.get(reference);
    if (index === undefined) this.#deps.progress.countLeftOut(NO_SERIES);
    if (startMs !== 0) this.#deps.progress.countLeftOut(NO_START_TIMES);
    return index;
  }
}

const IN_BLOCKS =
  'samples of the log from before the end of the newest block, which has them (Prometheus ignores them too)';
const NO_SERIES = 'samples of the log whose series record is missing or damaged';
const NO_START_TIMES = 'start times of samples (the samples are written)';

function unpackSnappy(bytes: Uint8Array, bytesMax: number): Uint8Array {
  const length = snappyDecodedBytes(bytes);
  if (length > bytesMax) throw new AppError('bad_data', `a record that unpacks to ${length} bytes`);
  // What claims more than its size can hold is refused before it gets room.
  const room = Math.min(length, bytes.length * SNAPPY_GROWTH_MAX) + SNAPPY_SLACK_BYTES;
  const into = new Uint8Array(room);
  return into.subarray(0, decompressSnappy(bytes, into));
}

function unpackZstd(bytes: Uint8Array, bytesMax: number): Uint8Array {
  return zstdDecompressSync(bytes, { maxOutputLength: bytesMax });
}

/** The value of `__name__` in label fields, or the empty string. */
function metricNameOf(fields: Uint8Array): string {
  let at = 0;
  const length = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = fields[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < fields.length) {
    at++;
    length();
    at++;
    const nameEnd = length() + at;
    const name = decodeUtf8(fields, at, nameEnd);
    at = nameEnd + 1;
    const valueEnd = length() + at;
    if (name === '__name__') return decodeUtf8(fields, at, valueEnd);
    at = valueEnd;
  }
  return '';
}

/** Metadata belong to families: those of histograms and summaries have several metrics. */
function familyOf(metric: string, type: number): string {
  if (type === 3 || type === 4) return metric.replace(/_(?:bucket|g?count|g?sum)$/, '');
  return type === 5 ? metric.replace(/_(?:count|sum)$/, '') : metric;
}
