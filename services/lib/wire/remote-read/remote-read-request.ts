// The body of a remote read request (prometheus.ReadRequest): which series of which time, and how the answer may come.

import { decodeUtf8 } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { ProtobufCursor, WIRE_BYTES, WIRE_VARINT } from '../../core/protobuf-cursor.ts';
import type { Matcher } from '../../model/matcher.ts';

export const READ_SAMPLES = 0;
export const READ_STREAMED_XOR_CHUNKS = 1;

/** Queries of one request: Prometheus sends one. */
const QUERIES_MAX = 100;
const MATCHERS_MAX = 1000;
const OPERATORS = ['=', '!=', '=~', '!~'] as const;

export interface ReadQuery {
  readonly matchers: readonly Matcher[];
  /** Unix milliseconds, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

export interface ReadRequest {
  readonly queries: readonly ReadQuery[];
  /** In the order in which the client prefers them; numbers that are not known stay. */
  readonly responseTypes: readonly number[];
}

const tag = (field: number, wire: number) => (field << 3) | wire;

/** @throws AppError `bad_data` when the bytes are no such message. */
export function readReadRequest(bytes: Uint8Array, length: number): ReadRequest {
  const cursor = new ProtobufCursor('remote read request', bytes, 0, length);
  const queries: ReadQuery[] = [];
  const responseTypes: number[] = [];
  while (cursor.at < cursor.end) {
    const next = cursor.tag();
    if (next === tag(1, WIRE_BYTES)) {
      if (queries.length >= QUERIES_MAX) throw new AppError('bad_data', `more than ${QUERIES_MAX} queries`);
      queries.push(within(cursor, () => readQuery(cursor)));
    } else if (next === tag(2, WIRE_VARINT)) responseTypes.push(cursor.uint32());
    else if (next === tag(2, WIRE_BYTES)) {
      within(cursor, () => {
        while (cursor.at < cursor.end) responseTypes.push(cursor.uint32());
      });
    } else cursor.skip(next);
  }
  return { queries, responseTypes };
}

/** Runs `read` with the cursor's end at that of the message that follows, and leaves the cursor behind it. */
function within<T>(cursor: ProtobufCursor, read: () => T): T {
  const outer = cursor.end;
  const end = cursor.lengthEnd();
  cursor.end = end;
  const result = read();
  cursor.at = end;
  cursor.end = outer;
  return result;
}

/** Hints are not needed: the range is the query's own. */
function readQuery(cursor: ProtobufCursor): ReadQuery {
  const matchers: Matcher[] = [];
  let minTimeMs = 0;
  let maxTimeMs = 0;
  while (cursor.at < cursor.end) {
    const next = cursor.tag();
    if (next === tag(1, WIRE_VARINT)) minTimeMs = cursor.int64();
    else if (next === tag(2, WIRE_VARINT)) maxTimeMs = cursor.int64();
    else if (next === tag(3, WIRE_BYTES)) {
      if (matchers.length >= MATCHERS_MAX)
        throw new AppError('bad_data', `more than ${MATCHERS_MAX} matchers`);
      matchers.push(within(cursor, () => readMatcher(cursor)));
    } else cursor.skip(next);
  }
  return { matchers, minTimeMs, maxTimeMs };
}

function readMatcher(cursor: ProtobufCursor): Matcher {
  let type = 0;
  let name = '';
  let value = '';
  while (cursor.at < cursor.end) {
    const next = cursor.tag();
    if (next === tag(1, WIRE_VARINT)) type = cursor.uint32();
    else if (next === tag(2, WIRE_BYTES)) name = text(cursor);
    else if (next === tag(3, WIRE_BYTES)) value = text(cursor);
    else cursor.skip(next);
  }
  const operator = OPERATORS[type];
  if (operator === undefined)
    throw new AppError('bad_data', `matcher of ${JSON.stringify(name)} has the unknown type ${type}`);
  return { name, operator, value };
}

function text(cursor: ProtobufCursor): string {
  const end = cursor.lengthEnd();
  const found = decodeUtf8(cursor.bytes, cursor.at, end);
  cursor.at = end;
  return found;
}
