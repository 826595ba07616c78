// The language of Prometheus' test scripts: load, clear, eval, expect. Lines become commands; nothing runs here.

import { parseDuration } from '../../services/lib/model/duration.ts';
import type { Labels } from '../../services/lib/model/labels.ts';
import { parseSeriesLine, parseStartLine, type SequenceValue, type SeriesLine } from './series-notation.ts';

export interface LoadCommand {
  readonly kind: 'load';
  readonly line: number;
  readonly intervalMs: number;
  /** Classic histograms are to be loaded as native ones with custom buckets too. */
  readonly withNhcb: boolean;
  readonly series: readonly SeriesLine[];
}

export interface ClearCommand {
  readonly kind: 'clear';
}

/** An annotation or error that must (not) be there. */
export interface Expectation {
  readonly match: 'any' | 'message' | 'pattern';
  readonly text: string;
}

export interface ExpectedSeries {
  readonly labels: Labels;
  readonly values: readonly SequenceValue[];
}

export interface EvalCommand {
  readonly kind: 'eval';
  /** 1 for the file's first line. */
  readonly line: number;
  readonly query: string;
  readonly isRange: boolean;
  readonly startMs: number;
  readonly endMs: number;
  /** 0 for instant queries. */
  readonly stepMs: number;
  ordered: boolean;
  fail: Expectation | undefined;
  readonly warn: Expectation[];
  readonly info: Expectation[];
  noWarn: boolean;
  noInfo: boolean;
  scalar: number | undefined;
  text: string | undefined;
  /** An instant query that answers a range vector: where its samples are expected. */
  rangeVector: { readonly startMs: number; readonly endMs: number; readonly stepMs: number } | undefined;
  readonly series: ExpectedSeries[];
}

export type Command = LoadCommand | ClearCommand | EvalCommand;

/** Parses a script; throws an Error that names the line. */
export function parseScript(text: string): Command[] {
  const lines = text.split('\n').map((line) => (line.trim().startsWith('#') ? '' : line.trim()));
  const commands: Command[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    // `store`: Thanos' scripts spread series over stores, whose union is what a query sees.
    if (line === '' || /^store\s/.test(line)) continue;
    let end = at + 1;
    while (end < lines.length && lines[end] !== '') end++;
    const body = lines.slice(at + 1, end);
    try {
      if (/^clear\b/i.test(line)) {
        commands.push({ kind: 'clear' });
        continue;
      }
      commands.push(/^load/i.test(line) ? parseLoad(line, body, at + 1) : parseEval(line, body, at + 1));
    } catch (caught) {
      throw new Error(`line ${at + 1}: ${caught instanceof Error ? caught.message : String(caught)}`, {
        cause: caught,
      });
    }
    at = end - 1;
  }
  return commands;
}

function parseLoad(head: string, body: readonly string[], line: number): LoadCommand {
  const match = /^load(_with_nhcb)?\s+(\S+)$/.exec(head);
  if (match === null) throw new Error(`malformed load command ${JSON.stringify(head)}`);
  const starts = new Map(
    body
      .filter(isStartTimeLine)
      .map(parseStartLine)
      .map(({ labels, offsetsMs }) => [labels.key, offsetsMs]),
  );
  const series = body
    .filter((row) => !isStartTimeLine(row))
    .map(parseSeriesLine)
    .map((row) => {
      const startOffsetsMs = starts.get(row.labels.key);
      return startOffsetsMs === undefined ? row : { ...row, startOffsetsMs };
    });
  return {
    kind: 'load',
    line,
    intervalMs: parseDuration(match[2]!),
    withNhcb: match[1] !== undefined,
    series,
  };
}

/** `metric@st …`: start times of a series. */
function isStartTimeLine(row: string): boolean {
  return /^\S*@st\s/.test(row) || /^.*\}@st\s/.test(row);
}

const INSTANT = /^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+))?\s+(.+)$/;
const RANGE = /^eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$/;

function parseEval(head: string, body: readonly string[], line: number): EvalCommand {
  const instant = INSTANT.exec(head);
  const range = RANGE.exec(head);
  if (instant === null && range === null) throw new Error(`malformed command ${JSON.stringify(head)}`);
  const startMs = parseDuration((instant?.[2] ?? range?.[2])!);
  const command: EvalCommand = {
    kind: 'eval',
    line,
    query: (instant?.[3] ?? range?.[5])!,
    isRange: range !== null,
    startMs,
    endMs: range === null ? startMs : parseDuration(range[3]!),
    stepMs: range === null ? 0 : parseDuration(range[4]!),
    ordered: false,
    fail: undefined,
    warn: [],
    info: [],
    noWarn: false,
    noInfo: false,
    scalar: undefined,
    text: undefined,
    rangeVector: undefined,
    series: [],
  };
  applySuffix(command, instant?.[1] ?? range?.[1]);
  for (const row of body) applyLine(command, row);
  return command;
}

const ANY: Expectation = { match: 'any', text: '' };

function applySuffix(command: EvalCommand, suffix: string | undefined): void {
  if (suffix === 'ordered') command.ordered = true;
  else if (suffix === 'fail') command.fail = ANY;
  else if (suffix === 'warn') command.warn.push(ANY);
  else if (suffix === 'info') command.info.push(ANY);
}

function applyLine(command: EvalCommand, row: string): void {
  const failure = /^expected_fail_(message|regexp)\s+(.*)$/.exec(row);
  const vector = /^expect range vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)$/.exec(row);
  const text = /^expect string\s+(.*)$/.exec(row);
  if (failure !== null) {
    command.fail = { match: failure[1] === 'message' ? 'message' : 'pattern', text: failure[2]!.trim() };
  } else if (vector !== null) {
    const [startMs, endMs, stepMs] = vector.slice(1).map(parseDuration) as [number, number, number];
    command.rangeVector = { startMs, endMs, stepMs };
  } else if (text !== null) {
    command.text = unquote(text[1]!);
  } else if (/^expect(\s|$)/.test(row)) {
    applyExpect(command, row);
  } else if (/^[+-]?(?:inf|nan|[\d.]+(?:e[+-]?\d+)?|0x[0-9a-f]+)$/i.test(row)) {
    command.scalar = scalarOf(row);
  } else {
    command.series.push(parseSeriesLine(row));
  }
}

function applyExpect(command: EvalCommand, row: string): void {
  const match = /^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$/.exec(row);
  if (match === null) throw new Error(`malformed expectation ${JSON.stringify(row)}`);
  const expectation: Expectation =
    match[2] === undefined
      ? ANY
      : { match: match[2] === 'msg' ? 'message' : 'pattern', text: match[3]!.trim() };
  switch (match[1]) {
    case 'ordered':
      command.ordered = true;
      return;
    case 'fail':
      command.fail = expectation;
      return;
    case 'warn':
      command.warn.push(expectation);
      return;
    case 'info':
      command.info.push(expectation);
      return;
    case 'no_warn':
      command.noWarn = true;
      return;
    default:
      command.noInfo = true;
  }
}

function scalarOf(text: string): number {
  const lower = text.toLowerCase().replace('+', '');
  if (lower === 'inf') return Number.POSITIVE_INFINITY;
  if (lower === '-inf') return Number.NEGATIVE_INFINITY;
  return Number(lower === 'nan' ? Number.NaN : text);
}

function unquote(text: string): string {
  if (text.startsWith('`')) return text.slice(1, -1);
  return JSON.parse(text.startsWith("'") ? `"${text.slice(1, -1).replaceAll('"', '\\"')}"` : text) as string;
}
