// A block in words, for people: what it holds, where its bytes are, which labels have many values. What `tidemark block
// inspect` prints.
import { ByteReader } from '../../core/bytes.ts';
import { METRIC_NAME } from '../../model/labels.ts';
import type { BlockReader } from './block-reader.ts';
import { WorkPacer } from './work-pacer.ts';

/** Lines of each list. */
const TOP = 10;
const ENCODING_NAMES = ['', 'xor', 'columns', 'histograms', 'start times', 'exemplars'];

interface EncodingTotals {
  chunks: number;
  samples: number;
  bytes: number;
}

/** Text of several lines; reads the index, and no chunk. */
export async function describeBlock(reader: BlockReader, signal?: AbortSignal): Promise<string> {
  const pacer = new WorkPacer(signal);
  const encodings = new Map<number, EncodingTotals>();
  const seriesByMetric = new Map<string, number>();
  const valuesByName = new Map<string, Set<string>>();
  const cursor = reader.openCursor();
  while (cursor.advance()) {
    countLabels(cursor.labelBytes, cursor.labelLength, seriesByMetric, valuesByName);
    for (let i = 0; i < cursor.chunks.count; i++) {
      const encoding = cursor.chunks.encodings[i]!;
      const totals = encodings.get(encoding) ?? { chunks: 0, samples: 0, bytes: 0 };
      encodings.set(encoding, totals);
      totals.chunks++;
      totals.samples += cursor.chunks.sampleCounts[i]!;
      totals.bytes += cursor.chunks.bytes[i]!;
    }
    if (pacer.spend(10)) await pacer.pause();
  }
  const labelCounts = new Map(Array.from(valuesByName, ([name, values]) => [name, values.size]));
  return [
    describeMeta(reader),
    table('section', ['raw bytes', 'on disk', 'pages'], sectionRows(reader)),
    table('chunks', ['count', 'samples', 'raw bytes', 'bytes/sample'], encodingRows(encodings)),
    table('label', ['values'], topRows(labelCounts)),
    table('metric', ['series'], topRows(seriesByMetric)),
  ].join('\n\n');
}

function countLabels(
  bytes: Uint8Array,
  length: number,
  seriesByMetric: Map<string, number>,
  valuesByName: Map<string, Set<string>>,
): void {
  const labels = new ByteReader(bytes, 0, length);
  while (labels.remaining > 0) {
    const name = labels.string();
    const value = labels.string();
    if (name === METRIC_NAME) seriesByMetric.set(value, (seriesByMetric.get(value) ?? 0) + 1);
    const values = valuesByName.get(name);
    if (values === undefined) valuesByName.set(name, new Set([value]));
    else values.add(value);
  }
}

function describeMeta({ meta }: BlockReader): string {
  const bytes = meta.files.index.sizeBytes + meta.files.chunks.sizeBytes;
  const perSample =
    meta.sampleCount === 0 ? 'no samples' : `${(bytes / meta.sampleCount).toFixed(3)} a sample`;
  return [
    `block      ${meta.blockId} of tenant ${meta.tenant}`,
    `time       ${isoTime(meta.minTimeMs)} to ${isoTime(meta.maxTimeMs)}`,
    `series     ${meta.seriesCount} with ${meta.sampleCount} samples in ${meta.chunkCount} chunks`,
    `bytes      ${bytes}, ${perSample}`,
    `level      ${meta.level}${meta.sources.length > 0 ? `, of ${meta.sources.length} sealed blocks` : ''}`,
    `partitions ${meta.partitions.join(' ')}`,
  ].join('\n');
}

/** Times beyond the calendar's reach stay numbers. */
function isoTime(timeMs: number): string {
  return Math.abs(timeMs) <= 8.64e15 ? new Date(timeMs).toISOString() : `${timeMs} ms`;
}

function sectionRows(reader: BlockReader): string[][] {
  return reader
    .sections()
    .map(({ name, rawBytes, storedBytes, pages }) => [name, `${rawBytes}`, `${storedBytes}`, `${pages}`]);
}

function encodingRows(encodings: ReadonlyMap<number, EncodingTotals>): string[][] {
  return [...encodings]
    .sort(([a], [b]) => a - b)
    .map(([encoding, { chunks, samples, bytes }]) => [
      ENCODING_NAMES[encoding] ?? `encoding ${encoding}`,
      `${chunks}`,
      `${samples}`,
      `${bytes}`,
      samples === 0 ? '–' : (bytes / samples).toFixed(3),
    ]);
}

/** The greatest counts first. */
function topRows(counts: ReadonlyMap<string, number>): string[][] {
  const sorted = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  const rows = sorted.slice(0, TOP).map(([name, count]) => [name, `${count}`]);
  if (sorted.length > TOP) rows.push([`and ${sorted.length - TOP} more`, '']);
  return rows;
}

function table(title: string, columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [[title, ...columns], ...rows];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const lines = all.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  return lines.join('\n');
}
