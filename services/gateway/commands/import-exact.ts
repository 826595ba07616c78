// Imports lines of JSON that lose nothing (exact-lines.ts), as `tidemark export --format=exact` writes them. A malformed line is
// reported and skipped; what is done is remembered by the position in the file.
import path from 'node:path';
import { decodeUtf8, encodeUtf8 } from '../../lib/core/bytes.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { HistogramParts } from '../../lib/model/histogram-parts.ts';
import { compareUtf8 } from '../../lib/model/labels.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import { BufferedFile } from '../../lib/tsdb/import/buffered-file.ts';
import { type ExactLine, parseExactLine, readExactHistogram, readExactValue } from './exact-lines.ts';
import type { ImportDeps } from './import-prometheus.ts';
import { RequestCollector } from './import-request.ts';
import { SeriesBuffer } from './import-series-buffer.ts';

const PIECE_BYTES = 1 << 20;
/** A longer line is none of ours: those have at most 10,000 samples or 200 histograms. */
const LINE_BYTES_MAX = 64 << 20;
const SERIES_MAX = 200_000;
const NEWLINE = 10;
const POSITION_EVERY_MS = 2000;

/** Imports the file. @throws AppError as `importPrometheus`. */
export async function importExact(name: string, deps: ImportDeps): Promise<void> {
  const { disk, clock, sender, state, progress } = deps;
  const file = await BufferedFile.open(name, await disk.open(name, 'read'));
  try {
    const part = path.basename(name);
    progress.totalBytes = file.size;
    let at = state.isDone(part, file.size) ? file.size : state.positionOf(part, file.size);
    progress.skippedBytes = at;
    const startedAt = at;
    const lines = new LineImport(name, deps);
    let notedMs = clock.monotonicMs();
    while (at < file.size) {
      let piece = await file.peek(at, PIECE_BYTES);
      if (!piece.includes(NEWLINE)) piece = await file.peek(at, LINE_BYTES_MAX);
      const end = piece.lastIndexOf(NEWLINE) + 1;
      if (end === 0) {
        progress.countDamage(
          `${name}: the line at offset ${at} has no end: it was cut off, or is no line of this format`,
        );
        break;
      }
      await lines.read(piece.subarray(0, end), at);
      at += end;
      await sender.settle();
      progress.tick(part, at - startedAt);
      if (clock.monotonicMs() - notedMs < POSITION_EVERY_MS) continue;
      await lines.flush();
      await state.setPosition(part, file.size, at);
      notedMs = clock.monotonicMs();
    }
    await lines.flush();
    if (progress.damageCount > 0) await state.setPosition(part, file.size, 0);
    else await state.setDone(part, file.size);
    progress.doneBytes = at - startedAt;
  } finally {
    await file.close();
  }
}

class LineImport {
  readonly #name: string;
  readonly #deps: ImportDeps;
  readonly #collector: RequestCollector;
  readonly #buffer = new SeriesBuffer();
  readonly #indexes = new Map<string, number>();
  readonly #value = new Float64Array(1);
  readonly #words = wordsOf(this.#value);
  readonly #parts = new HistogramParts();

  constructor(name: string, deps: ImportDeps) {
    this.#name = name;
    this.#deps = deps;
    this.#collector = new RequestCollector((request) => deps.sender.add(request));
  }

  /** Takes whole lines that stand at `offset` of the file. */
  async read(piece: Uint8Array, offset: number): Promise<void> {
    for (let from = 0; from < piece.length; ) {
      const to = piece.indexOf(NEWLINE, from);
      if (to > from) {
        try {
          this.#add(parseExactLine(decodeUtf8(piece, from, to)));
        } catch (caught) {
          const reason = toAppError(caught).message;
          this.#deps.progress.countDamage(`${this.#name}: ${reason} (line at offset ${offset + from})`);
        }
      }
      from = to + 1;
      if (this.#buffer.isFull) await this.flush();
    }
  }

  async flush(): Promise<void> {
    this.#buffer.flush(this.#collector);
    this.#collector.flush();
    await this.#deps.sender.drain();
  }

  #add({ metric, timestamps = [], values = [], histograms = [], exemplars = [] }: ExactLine): void {
    const series = this.#seriesOf(metric);
    for (const [i, timeMs] of timestamps.entries()) {
      readExactValue(values[i]!, this.#value);
      if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
      this.#buffer.sample(series, timeMs, this.#words[1]!, this.#words[0]!);
    }
    for (const histogram of histograms) {
      readExactHistogram(histogram, this.#parts);
      if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
      this.#buffer.histogram(series, histogram.timestamp, this.#parts, false);
    }
    for (const { labels, value, timestamp } of exemplars) {
      readExactValue(value, this.#value);
      if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
      this.#buffer.exemplar(series, timestamp, this.#value[0]!, bytesOf(labels));
    }
  }

  #seriesOf(metric: Readonly<Record<string, string>>): number {
    const key = JSON.stringify(metric);
    const known = this.#indexes.get(key);
    if (known !== undefined) return known;
    if (this.#buffer.seriesCount >= SERIES_MAX) {
      this.#buffer.flush(this.#collector);
      this.#buffer.forgetSeries();
      this.#indexes.clear();
    }
    const made = this.#buffer.addSeries(bytesOf(metric));
    this.#indexes.set(key, made);
    return made;
  }
}

/** `[name, value, …]` sorted by name, in UTF-8. */
function bytesOf(labels: Readonly<Record<string, string>>): Uint8Array[] {
  const entries = Object.entries(labels).filter(([, value]) => value !== '');
  entries.sort(([a], [b]) => compareUtf8(a, b));
  return entries.flatMap(([name, value]) => [encodeUtf8(name), encodeUtf8(value)]);
}
