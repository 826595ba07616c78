// What is wrong with a file of Prometheus': always with the file and the byte. One error for what cannot be read at all; a
// report for what is skipped.
import { AppError } from '../../core/errors.ts';

/** A file, or a part of it that all the rest hangs on, is not what it should be: `bad_data`. */
export class PrometheusFileError extends AppError {
  readonly file: string;
  readonly offset: number;

  constructor(file: string, offset: number, what: string) {
    super('bad_data', `${file}: ${what} (at offset ${offset})`);
    this.name = 'PrometheusFileError';
    this.file = file;
    this.offset = offset;
  }
}

/** Told of each part that is left out because it is damaged or not understood; reading goes on behind it. */
export type OnDamage = (damage: PrometheusFileError) => void;
