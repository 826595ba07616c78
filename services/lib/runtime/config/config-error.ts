// What is wrong in a configuration file, and where.
import { AppError } from '../../core/errors.ts';

/** A place in a file; both count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/**
 * A configuration that cannot be used: `bad_data`. The message is `[file:]line:column: key.path: what is wrong, with the value
 * and what to do`.
 */
export class ConfigError extends AppError {
  readonly line: number;
  readonly column: number;

  constructor(file: string | undefined, place: Place, keyPath: string, problem: string) {
    const where = `${file === undefined ? '' : `${file}:`}${place.line}:${place.column}`;
    super('bad_data', `${where}: ${keyPath === '' ? '' : `${keyPath}: `}${problem}`);
    this.name = 'ConfigError';
    this.line = place.line;
    this.column = place.column;
  }
}
