// What an import has done, in a small file, so that it goes on where it was ended: blocks, segments, or a position in one.
// Written only when everything up to there is answered; sending more than once is harmless.
import path from 'node:path';
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { type Disk, replaceFile, tryReadFile } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';

const VERSION = 1;
const BYTES_MAX = 64 << 20;

interface PartState {
  /** Size of the part then: a segment that has grown since is read again. */
  readonly bytes: number;
  readonly isDone: boolean;
  /** Where the part goes on. */
  readonly position: number;
}

export class ImportState {
  readonly #disk: Disk;
  readonly #file: string;
  readonly #source: string;
  readonly #url: string;
  readonly #parts = new Map<string, PartState>();

  private constructor(disk: Disk, file: string, source: string, url: string) {
    this.#disk = disk;
    this.#file = file;
    this.#source = source;
    this.#url = url;
  }

  get file(): string {
    return this.#file;
  }

  /**
   * Reads the file, or begins anew where there is none, it is about another source or server, or `restart` says so.
   *
   * @throws AppError `failed_precondition` when the file cannot be understood or its folder cannot be written.
   */
  static async open(
    file: string,
    about: { readonly source: string; readonly url: string; readonly restart: boolean },
    disk: Disk,
  ): Promise<ImportState> {
    const state = new ImportState(disk, file, about.source, about.url);
    if (!about.restart && (await disk.list(path.dirname(file))).includes(path.basename(file)))
      await state.#read();
    try {
      await state.#save();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new AppError('failed_precondition', `${file}: ${why}; name another place with --state=FILE`, {
        cause,
      });
    }
    return state;
  }

  async #read(): Promise<void> {
    try {
      const bytes = await tryReadFile(this.#disk, this.#file, BYTES_MAX);
      const saved = JSON.parse(new TextDecoder().decode(bytes)) as {
        readonly version: number;
        readonly source: string;
        readonly url: string;
        readonly parts: Readonly<Record<string, PartState>>;
      };
      if (saved.version !== VERSION) throw new AppError('bad_data', `version ${saved.version}`);
      if (saved.source !== this.#source || saved.url !== this.#url) return;
      for (const [name, part] of Object.entries(saved.parts)) this.#parts.set(name, part);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new AppError(
        'failed_precondition',
        `${this.#file} is no state of an import (${why}); remove it, or begin anew with --restart`,
        { cause },
      );
    }
  }

  isDone(name: string, bytes: number): boolean {
    const part = this.#parts.get(name);
    return part?.isDone === true && part.bytes === bytes;
  }

  /** Where a part goes on; 0 at its beginning. */
  positionOf(name: string, bytes: number): number {
    const part = this.#parts.get(name);
    return part !== undefined && part.bytes === bytes ? part.position : 0;
  }

  async setPosition(name: string, bytes: number, position: number): Promise<void> {
    this.#parts.set(name, { bytes, isDone: false, position });
    await this.#save();
  }

  async setDone(name: string, bytes: number): Promise<void> {
    this.#parts.set(name, { bytes, isDone: true, position: bytes });
    await this.#save();
  }

  async #save(): Promise<void> {
    const parts = Object.fromEntries(this.#parts);
    const text = JSON.stringify({ version: VERSION, source: this.#source, url: this.#url, parts });
    await replaceFile(
      this.#disk,
      path.dirname(this.#file),
      path.basename(this.#file),
      encodeUtf8(`${text}\n`),
    );
  }
}
