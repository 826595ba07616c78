// A block as text that other programs read: OpenMetrics, or a line of JSON for each series. What `tidemark block dump` prints.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AggregateCells } from '../../model/aggregate-cells.ts';
import {
  decodeLabels,
  isLegacyLabelName,
  isLegacyMetricName,
  type Labels,
  METRIC_NAME,
} from '../../model/labels.ts';
import { formatValue } from '../../model/number-format.ts';
import { SeriesSamples } from '../chunk/series-samples.ts';
import type { BlockReader } from './block-reader.ts';
import { WorkPacer } from './work-pacer.ts';

export type DumpFormat = 'openmetrics' | 'jsonl';

/** Characters collected before they are handed over. */
const PIECE_CHARACTERS = 64 * 1024;

/**
 * The block as pieces of text.
 *
 * OpenMetrics has no native histograms and no NaN payloads: histograms are left out with a comment, staleness markers are
 * written as NaN. JSON lines keep both apart: `{"labels":{…},"timestamps":[ms…],"values":["1.5"…],"histograms":n}`, a NaN
 * that is not the usual one as `NaN:<16 hexadecimal digits>`. Aggregates are written by JSON lines only, as
 * `"aggregates":[{"resolution":ms,"first":[ms,value],"last":[ms,value],"count":n,"min":…,"max":…,"sum":…,"correction":…}…]`.
 *
 * @throws CorruptBlockError when something is damaged: what came before is right.
 */
export async function* dumpBlock(reader: BlockReader, format: DumpFormat): AsyncGenerator<string> {
  const pacer = new WorkPacer();
  const cursor = reader.openCursor();
  const samples = new SeriesSamples();
  let text = '';
  while (cursor.advance()) {
    await cursor.loadChunks(pacer);
    samples.clear();
    for (let i = 0; i < cursor.chunks.count; i++) {
      cursor.withChunk(i, (bytes, start, end) => {
        samples.addChunk(cursor.chunks.encodings[i]!, bytes.slice(start, end), 0, end - start);
      });
    }
    samples.settle();
    const labels = decodeLabels(cursor.labelBytes, 0, cursor.labelLength);
    text +=
      format === 'jsonl'
        ? jsonLine(Object.fromEntries(labels.entries()), samples)
        : openMetricsLines(openMetricsName(labels), samples);
    if (text.length >= PIECE_CHARACTERS) {
      yield text;
      text = '';
      await nextTurn();
    }
  }
  yield format === 'jsonl' ? text : `${text}# EOF\n`;
}

/** A series as OpenMetrics names it: `metric{a="b"}`; a metric name of other characters goes into the braces, quoted. */
export function openMetricsName(labels: Labels): string {
  const metric = labels.get(METRIC_NAME);
  const isLegacy = isLegacyMetricName(metric);
  const parts = isLegacy || metric === '' ? [] : [quote(metric)];
  for (const [name, value] of labels.entries()) {
    if (name !== METRIC_NAME) parts.push(`${isLegacyLabelName(name) ? name : quote(name)}=${quote(value)}`);
  }
  const braces = isLegacy && parts.length === 0 ? '' : `{${parts.join(',')}}`;
  return (isLegacy ? metric : '') + braces;
}

/** OpenMetrics knows these three escapes. */
function quote(text: string): string {
  return `"${text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}"`;
}

function openMetricsLines(series: string, { floats, histograms, cells }: SeriesSamples): string {
  let text = '';
  for (let i = 0; i < floats.count; i++) {
    text += `${series} ${formatValue(floats.values[i]!)} ${floats.timestampsMs[i]! / 1000}\n`;
  }
  if (histograms.count > 0) text += `# ${histograms.count} native histograms of ${series} are left out\n`;
  if (cells.count > 0) text += `# ${cells.count} aggregates of ${series} are left out\n`;
  return text;
}

function jsonLine(
  labels: Readonly<Record<string, string>>,
  { floats, histograms, cells }: SeriesSamples,
): string {
  const { count } = floats;
  const values = Array.from({ length: count }, (_, i) =>
    exactValue(floats.values[i]!, floats.words[2 * i]!, floats.words[2 * i + 1]!),
  );
  const timestamps = [...floats.timestampsMs.subarray(0, count)];
  const more = histograms.count > 0 ? { histograms: histograms.count } : {};
  const aggregates = cells.count > 0 ? { aggregates: describeCells(cells) } : {};
  return `${JSON.stringify({ labels, timestamps, values, ...more, ...aggregates })}\n`;
}

function describeCells(cells: AggregateCells) {
  return Array.from({ length: cells.count }, (_, i) => ({
    resolution: cells.resolutionsMs[i]!,
    first: [cells.firstTimesMs[i]!, formatValue(cells.firsts[i]!)],
    last: [cells.lastTimesMs[i]!, formatValue(cells.lasts[i]!)],
    count: cells.counts[i]!,
    min: formatValue(cells.mins[i]!),
    max: formatValue(cells.maxs[i]!),
    sum: formatValue(cells.sums[i]!),
    correction: formatValue(cells.corrections[i]!),
  }));
}

function exactValue(value: number, low: number, high: number): string {
  const isUsual = !Number.isNaN(value) || (high === 0x7ff80000 && low <= 1);
  if (isUsual) return formatValue(value);
  return `NaN:${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}`;
}
