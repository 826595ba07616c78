// Deletes in the ingester's log, as bytes (lib/tsdb/docs/format/log-records.md). Numbers from the end of 1 … 15: other records count from the front.
import { type ByteReader, type ByteWriter, unzigzag, zigzag } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Matcher, MatchOperator } from '../../lib/model/matcher.ts';

export const RECORD_DELETE = 14;
export const RECORD_UNDELETE = 15;

/** Matchers of a delete, at most; far above what anybody writes. */
const MATCHERS_MAX = 1024;
/** By their number in the record. */
const OPERATORS: readonly MatchOperator[] = ['=', '!=', '=~', '!~'];

/** A delete as the head keeps it. */
export interface DeleteMark {
  readonly tenant: string;
  readonly id: string;
  readonly matchers: readonly Matcher[];
  /** Unix ms within ±2^51, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** When it was asked for, Unix ms, and by whom. */
  readonly createdAtMs: number;
  readonly actor: string;
  /** Ranges of this generation and before are concerned. */
  readonly generationMax: number;
}

export function encodeDelete(dst: ByteWriter, mark: DeleteMark): void {
  dst.string(mark.tenant);
  dst.string(mark.id);
  dst.varint(zigzag(mark.minTimeMs));
  dst.varint(zigzag(mark.maxTimeMs));
  dst.varint(mark.createdAtMs);
  dst.string(mark.actor);
  dst.varint(mark.generationMax);
  dst.varint(mark.matchers.length);
  for (const { name, operator, value } of mark.matchers) {
    dst.u8(OPERATORS.indexOf(operator));
    dst.string(name);
    dst.string(value);
  }
}

/** @throws AppError `bad_data` when it breaks a rule of the format. */
export function decodeDelete(reader: ByteReader): DeleteMark {
  const tenant = reader.string();
  const id = reader.string();
  const minTimeMs = unzigzag(reader.varint());
  const maxTimeMs = unzigzag(reader.varint());
  const createdAtMs = reader.varint();
  const actor = reader.string();
  const generationMax = reader.varint();
  const count = reader.varint();
  if (count === 0 || count > MATCHERS_MAX) throw new AppError('bad_data', `a delete of ${count} matchers`);
  const matchers: Matcher[] = [];
  for (let i = 0; i < count; i++) {
    const number = reader.u8();
    const operator = OPERATORS[number];
    if (operator === undefined) throw new AppError('bad_data', `unknown operator ${number} in a delete`);
    const name = reader.string();
    matchers.push({ name, operator, value: reader.string() });
  }
  if (reader.remaining !== 0) throw new AppError('bad_data', `${reader.remaining} bytes behind a delete`);
  return { tenant, id, matchers, minTimeMs, maxTimeMs, createdAtMs, actor, generationMax };
}

export interface UndeleteMark {
  readonly tenant: string;
  readonly id: string;
}

export function encodeUndelete(dst: ByteWriter, { tenant, id }: UndeleteMark): void {
  dst.string(tenant);
  dst.string(id);
}

export function decodeUndelete(reader: ByteReader): UndeleteMark {
  return { tenant: reader.string(), id: reader.string() };
}
