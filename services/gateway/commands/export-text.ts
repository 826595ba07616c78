// Exported samples as lines: OpenMetrics with timestamps, and the JSON lines of VictoriaMetrics' /api/v1/export.
import { Labels } from '../../lib/model/labels.ts';
import { openMetricsName } from '../../lib/tsdb/block/dump-block.ts';
import type { ExportedSamples } from './export-reader.ts';

/** One line of JSON. Values are the digits that the API wrote. */
export function jsonLine({ metric, values }: ExportedSamples): string {
  const numbers = values.map(([, text]) => jsonNumber(text)).join(',');
  const timestamps = values.map(([seconds]) => Math.round(seconds * 1000)).join(',');
  return `{"metric":${JSON.stringify(metric)},"values":[${numbers}],"timestamps":[${timestamps}]}\n`;
}

function jsonNumber(text: string): string {
  if (text === 'NaN') return 'null';
  if (text === '+Inf') return '"Infinity"';
  if (text === '-Inf') return '"-Infinity"';
  return text;
}

/** A line for each sample. */
export function openMetricsLines({ metric, values }: ExportedSamples): string {
  const series = openMetricsName(Labels.from(Object.entries(metric)));
  let text = '';
  for (const [seconds, value] of values) {
    text += `${series} ${value} ${openMetricsTime(Math.round(seconds * 1000))}\n`;
  }
  return text;
}

/**
 * Seconds such that whoever multiplies them by 1000 and cuts off the rest, as Prometheus and we do, has the milliseconds back:
 * the nearest double to 1700000000.077 gives one too few.
 */
export function openMetricsTime(timeMs: number): string {
  const usual = String(timeMs / 1000);
  if (Math.trunc(Number(usual) * 1000) === timeMs) return usual;
  return ((timeMs + Math.sign(timeMs) * 0.25) / 1000).toFixed(6);
}
