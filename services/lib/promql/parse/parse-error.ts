// What is wrong with a query, in Prometheus' words: `1:8: parse error: unexpected identifier "x"`. The column counts
// bytes of UTF-8, as Prometheus does; positions in the tree are UTF-16 offsets.
import { AppError } from '../../core/errors.ts';

/** A query that does not parse or does not type-check. The message stands as Prometheus prints it. */
export class ParseError extends AppError {
  /** UTF-16 offset of what is wrong. */
  readonly offset: number;
  /** The message without position and prefix. */
  readonly reason: string;

  constructor(query: string, offset: number, reason: string) {
    super('bad_data', `${printPosition(query, offset)}: parse error: ${reason}`);
    this.name = 'ParseError';
    this.offset = offset;
    this.reason = reason;
  }
}

/** `line:column` of a UTF-16 offset, both from 1; the column in UTF-8 bytes. An empty query has no positions. */
export function printPosition(query: string, offset: number): string {
  if (query === '') return 'unknown position';
  const before = query.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  let line = 1;
  for (let i = before.indexOf('\n'); i >= 0; i = before.indexOf('\n', i + 1)) line++;
  return `${line}:${Buffer.byteLength(before.slice(lineStart)) + 1}`;
}
