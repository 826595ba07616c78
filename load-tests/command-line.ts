// Flags of the programs here: one way to read them, to explain them and to refuse them.
import { type ParseArgsConfig, parseArgs } from 'node:util';

type Flags = NonNullable<ParseArgsConfig['options']>;
type Values<T extends Flags> = ReturnType<typeof parseArgs<{ options: T }>>['values'];

/** What a program says of a flag, or of a value, that it does not take; and the status it ends with. */
const REFUSED = 2;

/**
 * The flags that the program was called with. With `--help` it prints how it is used and ends; with a flag that is not known it says so and
 * ends with status 2.
 *
 * @param usage  What it does, and a line for each flag.
 */
export function readFlags<const T extends Flags>(usage: string, flags: T): Values<T> {
  try {
    const { values } = parseArgs({ options: { ...flags, help: { type: 'boolean' } } });
    if ('help' in values) {
      process.stdout.write(usage);
      process.exit(0);
    }
    return values as Values<T>;
  } catch (caught) {
    return refuse(`${(caught as Error).message}; --help lists the flags`);
  }
}

/** The number that a flag was given. Ends the program with status 2 unless it is one above 0. */
export function positive(flag: string, text: string): number {
  const value = Number(text);
  return value > 0 && value < Number.POSITIVE_INFINITY
    ? value
    : refuse(`--${flag}: ${JSON.stringify(text)} is not a number above 0`);
}

/** Ends the program: it was called with what it does not take. */
export function refuse(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(REFUSED);
}
