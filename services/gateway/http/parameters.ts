// Parameters of a request: the query string, and the form body of a POST merged over it. Values are parsed by the rules
// of Prometheus' API, and refused in its words.
import type { IncomingMessage } from 'node:http';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { parseDuration } from '../../lib/model/duration.ts';
import { parseValue } from '../../lib/model/number-format.ts';
import { goQuote } from '../../lib/promql/parse/go-quote.ts';

/** Times are kept within what a Date can hold: far beyond any sample, and exact as doubles. */
export const TIME_MS_MAX = 8_640_000_000_000_000;
export const TIME_MS_MIN = -TIME_MS_MAX;
/** How Prometheus writes its own least and greatest time; clients send them back. */
const PROMETHEUS_MIN_TIME = '-292273086-05-16T16:47:06Z';
const PROMETHEUS_MAX_TIME = '292277025-08-18T07:12:54.999999999Z';
const LIMIT_MAX = 0xffffffff;
const FORM = 'application/x-www-form-urlencoded';
const RFC3339 = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(Z|[+-]\d{2}:\d{2})$/;

/** Names and values, the body's before the query string's. */
export class Parameters {
  readonly #entries: readonly (readonly [string, string])[];

  constructor(entries: readonly (readonly [string, string])[]) {
    this.#entries = entries;
  }

  /** The first value, or the empty string: an absent parameter and an empty one are the same. */
  get(name: string): string {
    for (const [own, value] of this.#entries) if (own === name) return value;
    return '';
  }

  /** All values, in order. */
  all(name: string): string[] {
    return this.#entries.filter(([own]) => own === name).map(([, value]) => value);
  }
}

/**
 * Reads the parameters of a request.
 *
 * @throws AppError `bad_data` when there are too many, or the body is over `formBytesMax` (its rest is not read).
 */
export async function readParameters(
  request: IncomingMessage,
  search: string,
  limits: { readonly formBytesMax: number; readonly parametersMax: number },
): Promise<Parameters> {
  const entries: [string, string][] = [];
  if (request.method === 'POST' && isForm(request)) {
    addEntries(entries, await readBody(request, limits.formBytesMax), limits.parametersMax);
  }
  addEntries(entries, search, limits.parametersMax);
  return new Parameters(entries);
}

function isForm(request: IncomingMessage): boolean {
  const type = request.headers['content-type'] ?? '';
  return type.split(';', 1)[0]!.trim().toLowerCase() === FORM;
}

async function readBody(request: IncomingMessage, bytesMax: number): Promise<string> {
  const tooLarge = () =>
    new AppError('bad_data', `error parsing form values: the body is over the limit of ${bytesMax} bytes`);
  const declared = Number(request.headers['content-length'] ?? 0);
  if (declared > bytesMax) throw tooLarge();
  const pieces: Buffer[] = [];
  let byteCount = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    byteCount += piece.length;
    if (byteCount > bytesMax) throw tooLarge();
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function addEntries(entries: [string, string][], text: string, countMax: number): void {
  for (const entry of new URLSearchParams(text)) {
    if (entries.length >= countMax) {
      throw new AppError('bad_data', `error parsing form values: more than ${countMax} parameters`);
    }
    entries.push(entry);
  }
}

/** Wraps a reason as Prometheus does: `invalid parameter "time": …`. */
export function invalidParameter(name: string, reason: string): AppError {
  return new AppError('bad_data', `invalid parameter ${goQuote(name)}: ${reason}`);
}

/** Runs a parser for a parameter; its `bad_data` becomes `invalid parameter "name": …`. */
export function forParameter<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (caught) {
    if (caught instanceof AppError && caught.code === 'bad_data')
      throw invalidParameter(name, caught.message);
    throw caught;
  }
}

/**
 * A time: seconds with fraction, or RFC 3339. Milliseconds since 1970.
 *
 * @throws AppError `bad_data` in Prometheus' words.
 */
export function parseTime(text: string): number {
  const seconds = parseValue(text);
  if (seconds !== undefined && Number.isFinite(seconds)) {
    const whole = Math.trunc(seconds);
    const fraction = seconds - whole;
    const fractionMs = Math.sign(fraction) * Math.round(Math.abs(fraction) * 1000);
    return clampTime(whole * 1000 + fractionMs);
  }
  const timeMs = seconds === undefined ? parseRfc3339(text) : undefined;
  if (timeMs === undefined)
    throw new AppError('bad_data', `cannot parse ${goQuote(text)} to a valid timestamp`);
  return timeMs;
}

function clampTime(timeMs: number): number {
  return Math.min(Math.max(timeMs, TIME_MS_MIN), TIME_MS_MAX);
}

function parseRfc3339(text: string): number | undefined {
  if (text === PROMETHEUS_MIN_TIME) return TIME_MS_MIN;
  if (text === PROMETHEUS_MAX_TIME) return TIME_MS_MAX;
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  if (!exists || hour > 23 || minute > 59 || second > 59) return undefined;
  const offsetMs = parseZone(match[8]!);
  if (offsetMs === undefined) return undefined;
  const ms = Number((match[7] ?? '').slice(0, 3).padEnd(3, '0'));
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1000 + ms - offsetMs;
}

function parseZone(zone: string): number | undefined {
  if (zone === 'Z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(4, 6));
  if (hours > 24 || minutes > 59) return undefined;
  return (zone[0] === '-' ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

/**
 * A duration: seconds with fraction, or `1h30m`. Milliseconds, cut to whole ones by way of nanoseconds as Prometheus does.
 *
 * @throws AppError `bad_data` in Prometheus' words.
 */
export function parseDurationParameter(text: string): number {
  const seconds = parseValue(text);
  if (seconds !== undefined && !Number.isNaN(seconds)) {
    const nanoseconds = seconds * 1e9;
    if (Math.abs(nanoseconds) > 2 ** 63) {
      throw new AppError('bad_data', `cannot parse ${goQuote(text)} to a valid duration. It overflows int64`);
    }
    return Math.trunc(Math.trunc(nanoseconds) / 1e6);
  }
  try {
    return parseDuration(text);
  } catch {
    throw new AppError('bad_data', `cannot parse ${goQuote(text)} to a valid duration`);
  }
}

/** `limit`: 0 or absent means none. */
export function parseLimit(parameters: Parameters): number {
  const text = parameters.get('limit');
  if (text === '') return 0;
  const limit = forParameter('limit', () => parseInteger(text));
  if (limit < 0) throw invalidParameter('limit', 'limit must be non-negative');
  return Math.min(limit, LIMIT_MAX);
}

/** @throws AppError `bad_data` in the words of Go's strconv. */
export function parseInteger(text: string): number {
  if (!/^[+-]?\d+$/.test(text)) {
    throw new AppError('bad_data', `strconv.Atoi: parsing ${goQuote(text)}: invalid syntax`);
  }
  const value = Number(text);
  if (Math.abs(value) >= 2 ** 63) {
    throw new AppError('bad_data', `strconv.Atoi: parsing ${goQuote(text)}: value out of range`);
  }
  return value;
}

/** `start` and `end` of the calls that list series and labels; absent means all of time. */
export function parseTimeRange(parameters: Parameters): { minTimeMs: number; maxTimeMs: number } {
  const start = parameters.get('start');
  const end = parameters.get('end');
  return {
    minTimeMs: start === '' ? TIME_MS_MIN : parseOptionalTime('start', start),
    maxTimeMs: end === '' ? TIME_MS_MAX : parseOptionalTime('end', end),
  };
}

/** A time that has a default where it is absent; Prometheus refuses these in a few words more. */
export function parseOptionalTime(name: string, text: string): number {
  try {
    return parseTime(text);
  } catch (caught) {
    throw invalidParameter(name, `invalid time value for '${name}': ${toAppError(caught).message}`);
  }
}
