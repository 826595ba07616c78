// Small files of JSON that carry their own checksum: `{"crc32":N,"<key>":{…}}` and a newline. A file counts only when it is, to the byte,
// what a writer of this version makes: a flipped bit, a cut file and a field of a newer version are all found.
import { crc32 } from 'node:zlib';
import { AppError } from '../../core/errors.ts';

/** What one kind of file looks like. */
export interface CheckedJsonFormat<T> {
  /** Name of the field beside the checksum. */
  readonly key: string;
  /** For messages: `block`, `tombstone`. */
  readonly noun: string;
  /** The only version that is read; the field `version` of the value says which one a file has. */
  readonly version: number;
  readonly isWellFormed: (value: T) => boolean;
  /** The file that a writer makes of a value, by way of `renderCheckedJson`. */
  readonly render: (value: T) => string;
}

/** @param body  The value as JSON; the checksum is of these characters. */
export function renderCheckedJson(key: string, body: string): string {
  return `{"crc32":${crc32(body)},"${key}":${body}}\n`;
}

/**
 * @param where  For messages: the file's path.
 * @throws AppError `bad_data` when anything differs from what a writer makes, or the version is unknown.
 */
export function parseCheckedJson<T>(text: string, where: string, format: CheckedJsonFormat<T>): T {
  const fail = (why: string): AppError => new AppError('bad_data', `${where}: ${why}`);
  let outer: unknown;
  try {
    outer = JSON.parse(text);
  } catch (cause) {
    throw new AppError('bad_data', `${where}: not JSON`, { cause });
  }
  const inner = fieldOf(outer, format.key);
  const version = fieldOf(inner, 'version');
  if (version !== format.version) {
    throw fail(`${format.noun} format version ${String(version)}, known is ${format.version}`);
  }
  const value = inner as T;
  if (!format.isWellFormed(value)) throw fail('a field is missing or of the wrong kind');
  if (format.render(value) !== text) throw fail('its checksum or its text is not what a writer makes');
  return value;
}

/** A field of what may be anything; undefined where there is none. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
