// Where an export that can be taken up again writes: a file, and a small one beside it that says how much of it is whole. Lines are
// synced before they are said to be; what a crash left behind them is cut off.
import path from 'node:path';
import { decodeUtf8, encodeUtf8 } from '../../lib/core/bytes.ts';
import { type Disk, type DiskFile, errorCodeOf, replaceFile, tryReadFile } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';

const STATE_BYTES_MAX = 1 << 16;

/** What is exported; another one begins anew. */
export interface ExportQuestion {
  readonly url: string;
  readonly match: string;
  readonly startMs: number;
  readonly endMs: number;
}

interface ExportState extends ExportQuestion {
  /** Where the next slice begins; behind endMs when all is written. */
  readonly nextMs: number;
  /** Bytes of the file that hold whole slices. */
  readonly bytes: number;
}

export class ExportOutput {
  readonly #disk: Disk;
  readonly #name: string;
  readonly #file: DiskFile;
  readonly #question: ExportQuestion;
  #bytes: number;
  /** Where the export goes on, Unix milliseconds. */
  nextMs: number;

  private constructor(
    disk: Disk,
    name: string,
    file: DiskFile,
    state: ExportState,
    question: ExportQuestion,
  ) {
    this.#disk = disk;
    this.#name = name;
    this.#file = file;
    this.#question = question;
    this.#bytes = state.bytes;
    this.nextMs = state.nextMs;
  }

  /**
   * Opens the file, behind what is whole of the same export, or empty.
   *
   * @throws AppError `failed_precondition` when the file is of another export, or not of one.
   */
  static async open(name: string, question: ExportQuestion, disk: Disk): Promise<ExportOutput> {
    const known = await readState(`${name}${SUFFIX}`, disk);
    const begun: ExportState = { ...question, nextMs: question.startMs, bytes: 0 };
    const isThere = await exists(name, disk);
    if (!isThere) return new ExportOutput(disk, name, await disk.open(name, 'create'), begun, question);
    if (known === undefined || !isSame(known, question))
      throw new AppError(
        'failed_precondition',
        `${name} is there and is no part of this export (same --url, --match, --start and --end): remove it, or name another file`,
      );
    const file = await disk.open(name, 'write');
    if ((await file.size()) < known.bytes) {
      await file.close();
      throw new AppError('failed_precondition', `${name} is shorter than what was written: remove it`);
    }
    await file.truncate(known.bytes);
    return new ExportOutput(disk, name, file, known, question);
  }

  async write(text: string): Promise<void> {
    const bytes = encodeUtf8(text);
    await this.#file.write(bytes, 0, bytes.length, this.#bytes);
    this.#bytes += bytes.length;
  }

  /** All before `nextMs` is written. */
  async settle(nextMs: number): Promise<void> {
    await this.#file.sync();
    this.nextMs = nextMs;
    const state: ExportState = { ...this.#question, nextMs, bytes: this.#bytes };
    const { dir, base } = path.parse(path.resolve(this.#name));
    await replaceFile(this.#disk, dir, `${base}${SUFFIX}`, encodeUtf8(`${JSON.stringify(state)}\n`));
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

const SUFFIX = '.tidemark-export.json';

function isSame(a: ExportQuestion, b: ExportQuestion): boolean {
  return a.url === b.url && a.match === b.match && a.startMs === b.startMs && a.endMs === b.endMs;
}

async function exists(name: string, disk: Disk): Promise<boolean> {
  try {
    await (await disk.open(name, 'read')).close();
    return true;
  } catch (caught) {
    if (errorCodeOf(caught) === 'ENOENT') return false;
    throw caught;
  }
}

async function readState(name: string, disk: Disk): Promise<ExportState | undefined> {
  if (!(await exists(name, disk))) return undefined;
  const bytes = await tryReadFile(disk, name, STATE_BYTES_MAX);
  try {
    const state = JSON.parse(decodeUtf8(bytes ?? new Uint8Array(0), 0, bytes?.length ?? 0)) as ExportState;
    return Number.isSafeInteger(state.bytes) && Number.isSafeInteger(state.nextMs) ? state : undefined;
  } catch {
    return undefined;
  }
}
