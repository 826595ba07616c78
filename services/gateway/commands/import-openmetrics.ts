// Imports OpenMetrics text, as promtool's create-blocks-from reads it: samples with timestamps, exemplars, metadata. The file
// is read in pieces cut at line ends; a malformed line is reported and skipped.
import path from 'node:path';
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { toAppError } from '../../lib/core/errors.ts';
import {
  ExpositionError,
  type ExpositionSink,
  type MetadataKind,
} from '../../lib/exposition/exposition-sink.ts';
import { parseOpenMetrics } from '../../lib/exposition/openmetrics-parser.ts';
import { readEscaped, readExemplarLabels, readSeriesText } from '../../lib/exposition/series-text.ts';
import { compareUtf8 } from '../../lib/model/labels.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import { BufferedFile } from '../../lib/tsdb/import/buffered-file.ts';
import type { ImportDeps } from './import-prometheus.ts';
import { RequestCollector } from './import-request.ts';
import { SeriesBuffer } from './import-series-buffer.ts';

/** A malformed line makes the rest of its piece be looked at again: pieces are small. */
const PIECE_BYTES = 128 * 1024;
/** A longer line is no line of this format. */
const LINE_BYTES_MAX = 1 << 20;
/** Series known at a time; a file that has more of them side by side is read slower, not wrong. */
const SERIES_MAX = 200_000;
const NEWLINE = 10;
const END_LINE = encodeUtf8('# EOF\n');
const POSITION_EVERY_MS = 2000;
/** The place of each type in remote write's enum. */
const TYPES = ['unknown', 'counter', 'gauge', 'histogram', 'gaugehistogram', 'summary', 'info', 'stateset'];

/** Imports the file. @throws AppError as `importPrometheus`. */
export async function importOpenMetrics(name: string, deps: ImportDeps): Promise<void> {
  const { disk, clock, sender, state, progress } = deps;
  const file = await BufferedFile.open(name, await disk.open(name, 'read'));
  try {
    const part = path.basename(name);
    progress.totalBytes = file.size;
    if (state.isDone(part, file.size)) {
      progress.skippedBytes = file.size;
      return;
    }
    const collector = new RequestCollector((request) => sender.add(request));
    const text = new TextImport(name, deps, collector);
    let at = state.positionOf(part, file.size);
    progress.skippedBytes = at;
    const startedAt = at;
    let notedMs = clock.monotonicMs();
    let isEnded = false;
    while (at < file.size && !isEnded) {
      let bytes = await file.peek(at, PIECE_BYTES);
      if (!bytes.includes(NEWLINE)) bytes = await file.peek(at, LINE_BYTES_MAX);
      const piece = cutPiece(bytes, at + bytes.length >= file.size);
      if (piece.length === 0) {
        progress.countDamage(`${name}: a line of more than ${LINE_BYTES_MAX} bytes (at offset ${at})`);
        at += bytes.length;
        continue;
      }
      isEnded = text.read(piece, at);
      at += piece.length;
      await sender.settle();
      progress.tick(part, at - startedAt);
      if (clock.monotonicMs() - notedMs < POSITION_EVERY_MS) continue;
      await text.flush();
      await state.setPosition(part, file.size, at);
      notedMs = clock.monotonicMs();
    }
    await text.flush();
    if (!isEnded) progress.countDamage(`${name}: there is no # EOF at its end: it may have been cut off`);
    else if (at < file.size)
      progress.countDamage(`${name}: ${file.size - at} bytes behind # EOF (at offset ${at})`);
    if (progress.damageCount > 0) await state.setPosition(part, file.size, 0);
    else await state.setDone(part, file.size);
    progress.doneBytes = file.size - startedAt;
  } finally {
    await file.close();
  }
}

/** The lines of `bytes` that are whole, up to and with `# EOF`; none when there is no end of a line. */
function cutPiece(bytes: Uint8Array, isLast: boolean): Uint8Array {
  const mark = findEnd(bytes, isLast);
  if (mark >= 0) return bytes.subarray(0, mark);
  return isLast ? bytes : bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1);
}

/** The position behind the line `# EOF`, or -1. @param isLast  The line may end with the bytes. */
function findEnd(bytes: Uint8Array, isLast: boolean): number {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = view.indexOf('# EOF'); at >= 0; at = view.indexOf('# EOF', at + 1)) {
    if (at > 0 && view[at - 1] !== NEWLINE) continue;
    if (isLast && at + 5 === view.length) return at + 5;
    if (view[at + 5] === NEWLINE) return at + 6;
  }
  return -1;
}

interface Family {
  help: string;
  unit: string;
  type: number;
}

class TextImport implements ExpositionSink {
  readonly #name: string;
  readonly #deps: ImportDeps;
  readonly #collector: RequestCollector;
  readonly #buffer = new SeriesBuffer();
  readonly #indexes = new Map<string, number>();
  readonly #families = new Map<string, Family>();
  readonly #value = new Float64Array(1);
  readonly #words = wordsOf(this.#value);
  #lastSeries = -1;
  #lastMs = 0;
  /** Where in the bytes being parsed the last thing was reported. */
  #at = 0;
  #line = 0;

  constructor(name: string, deps: ImportDeps, collector: RequestCollector) {
    this.#name = name;
    this.#deps = deps;
    this.#collector = collector;
  }

  /** Reads whole lines that stand at `offset` of the file. True when `# EOF` was among them. */
  read(piece: Uint8Array, offset: number): boolean {
    const isEnd = findEnd(piece, true) >= 0;
    const lines = isEnd ? piece.subarray(0, piece.lastIndexOf(35)) : piece;
    const terminated = lines.at(-1) === NEWLINE || lines.length === 0 ? [] : [Uint8Array.of(NEWLINE)];
    const bytes = Buffer.concat([lines, ...terminated, END_LINE]);
    let at = 0;
    while (at < bytes.length - END_LINE.length) {
      const rest = bytes.subarray(at);
      try {
        parseOpenMetrics(rest, rest.length, this);
        break;
      } catch (caught) {
        // Lines before it have been taken; it goes on behind the line.
        const isGrammar = caught instanceof ExpositionError;
        const start = isGrammar ? startOfLine(rest, caught.line) : rest.lastIndexOf(NEWLINE, this.#at) + 1;
        const reason = toAppError(caught).message.replace(/^line \d+: /, '');
        const lineNumber = this.#line + countLines(bytes, at + start) + 1;
        const where = `line ${lineNumber} since the start, offset ${offset + at + start}`;
        this.#deps.progress.countDamage(`${this.#name}: ${reason} (${where})`);
        const next = rest.indexOf(NEWLINE, start);
        if (next < 0) break;
        at += next + 1;
      }
    }
    this.#line += countLines(piece, piece.length);
    return isEnd;
  }

  async flush(): Promise<void> {
    this.#buffer.flush(this.#collector);
    for (const [name, { type, help, unit }] of this.#families) {
      this.#collector.addMetadata(type, encodeUtf8(name), encodeUtf8(help), encodeUtf8(unit));
    }
    this.#families.clear();
    this.#collector.flush();
    await this.#deps.sender.drain();
  }

  recognise(): number {
    return 0;
  }

  sample(
    bytes: Uint8Array,
    seriesStart: number,
    seriesEnd: number,
    value: number,
    timestampMs: number,
  ): void {
    this.#at = seriesStart;
    this.#lastSeries = -1;
    if (Number.isNaN(timestampMs)) {
      this.#deps.progress.countLeftOut('samples without a timestamp');
      return;
    }
    if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
    const key = Buffer.from(bytes.buffer, bytes.byteOffset + seriesStart, seriesEnd - seriesStart).toString(
      'latin1',
    );
    let index = this.#indexes.get(key);
    if (index === undefined) {
      if (this.#buffer.seriesCount >= SERIES_MAX) {
        this.#buffer.flush(this.#collector);
        this.#buffer.forgetSeries();
        this.#indexes.clear();
      }
      index = this.#buffer.addSeries(sortedBytes(readSeriesText(bytes, seriesStart, seriesEnd)));
      this.#indexes.set(key, index);
    }
    this.#value[0] = value;
    this.#buffer.sample(index, timestampMs, this.#words[1]!, this.#words[0]!);
    this.#lastSeries = index;
    this.#lastMs = timestampMs;
  }

  histogram(): void {
    // The text format has none.
  }

  exemplar(
    bytes: Uint8Array,
    labelsStart: number,
    labelsEnd: number,
    value: number,
    timestampMs: number,
  ): void {
    this.#at = labelsStart;
    if (this.#lastSeries < 0) return;
    if (this.#buffer.isFull) this.#buffer.flush(this.#collector);
    const labels = sortedBytes(readExemplarLabels(bytes, labelsStart, labelsEnd));
    const atMs = Number.isNaN(timestampMs) ? this.#lastMs : timestampMs;
    this.#buffer.exemplar(this.#lastSeries, atMs, value, labels);
  }

  startTime(): void {
    this.#deps.progress.countLeftOut('start times of samples (the samples are written)');
  }

  metadata(
    kind: MetadataKind,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    textStart: number,
    textEnd: number,
  ): void {
    this.#at = nameStart;
    const name = readEscaped(bytes, nameStart, nameEnd).replace(/^"(.*)"$/, '$1');
    const family = this.#families.get(name) ?? { help: '', unit: '', type: 0 };
    const text = readEscaped(bytes, textStart, textEnd);
    if (kind === 'help') family.help = text;
    else if (kind === 'unit') family.unit = text;
    else family.type = Math.max(0, TYPES.indexOf(text));
    this.#families.set(name, family);
  }
}

/** `[name, value, …]` sorted by name, in UTF-8, without empty values. */
function sortedBytes(pairs: readonly string[]): Uint8Array[] {
  const entries: [string, string][] = [];
  for (let i = 0; i < pairs.length; i += 2) if (pairs[i + 1] !== '') entries.push([pairs[i]!, pairs[i + 1]!]);
  entries.sort(([a], [b]) => compareUtf8(a, b));
  return entries.flatMap(([name, value]) => [encodeUtf8(name), encodeUtf8(value)]);
}

function startOfLine(bytes: Uint8Array, line: number): number {
  let at = 0;
  for (let left = line - 1; left > 0; left--) at = bytes.indexOf(NEWLINE, at) + 1;
  return at;
}

function countLines(bytes: Uint8Array, end: number): number {
  let lines = 0;
  for (let i = 0; i < end; i++) if (bytes[i] === NEWLINE) lines++;
  return lines;
}
