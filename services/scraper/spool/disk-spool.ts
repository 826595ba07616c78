// The spool's disk: files of samples that wait for the distributor, oldest first, bounded in bytes (docs/spool-file.md).
import path from 'node:path';
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { type AppError, toAppError } from '../../lib/core/errors.ts';
import type { Appender } from '../../lib/distributor/appender.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { RecordFileWriter, readRecordFile } from '../../lib/tsdb/log/record-file.ts';
import type { WriteBatch } from '../write-batch.ts';
import { encodeSpoolRecord, SPOOL_RECORD_SAMPLES_MAX } from './spool-record.ts';

export interface DiskSpoolOptions {
  readonly folder: string;
  /** Most bytes of all files; the oldest go first. */
  readonly bytesMax: number;
}

export interface DiskSpoolDeps {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface SpoolFile {
  readonly name: string;
  readonly samples: number;
  readonly bytes: number;
}

const RECORD_TYPE = 1;
const FILE_NAME = /^([0-9]{12})-([0-9]{1,12})\.spool$/;

export class DiskSpool {
  readonly #options: DiskSpoolOptions;
  readonly #deps: DiskSpoolDeps;
  /** Oldest first. */
  #files: SpoolFile[] = [];
  #sequence = 0;
  /** The file that is being read must stay. */
  #reading: SpoolFile | undefined;

  private constructor(options: DiskSpoolOptions, deps: DiskSpoolDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Makes the folder, or finds what an earlier process left in it.
   *
   * @throws the disk's errors: the folder cannot be made or read.
   */
  static async open(options: DiskSpoolOptions, deps: DiskSpoolDeps): Promise<DiskSpool> {
    const spool = new DiskSpool(options, deps);
    await deps.disk.makeFolder(options.folder);
    for (const name of await deps.disk.list(options.folder)) await spool.#adopt(name);
    return spool;
  }

  /** Samples in all files. */
  get samples(): number {
    return this.#files.reduce((sum, file) => sum + file.samples, 0);
  }

  get bytes(): number {
    return this.#files.reduce((sum, file) => sum + file.bytes, 0);
  }

  get isEmpty(): boolean {
    return this.#files.length === 0;
  }

  async #adopt(name: string): Promise<void> {
    const { disk } = this.#deps;
    const file = path.join(this.#options.folder, name);
    if (name.endsWith('.tmp')) await disk.remove(file);
    const match = FILE_NAME.exec(name);
    if (match === null) return;
    const opened = await disk.open(file, 'read');
    try {
      this.#files.push({ name, samples: Number(match[2]), bytes: await opened.size() });
      this.#sequence = Number(match[1]) + 1;
    } finally {
      await opened.close();
    }
  }

  /**
   * Writes batches to a new file; they are durable when it resolves. The oldest files make room.
   *
   * @returns  Samples that are lost: of series that the distributor forgot, and of files that made room.
   * @throws the disk's errors; nothing is kept of the batches then.
   */
  async put(
    batches: readonly WriteBatch[],
    appender: Appender,
  ): Promise<{ readonly forgotten: number; readonly madeRoom: number }> {
    const { disk } = this.#deps;
    const samples = batches.reduce((sum, batch) => sum + batch.count + (batch.extras?.count ?? 0), 0);
    const name = `${String(this.#sequence++).padStart(12, '0')}-${samples}.spool`;
    const file = path.join(this.#options.folder, name);
    const opened = await disk.open(`${file}.tmp`, 'create');
    let forgotten = 0;
    let bytes = 0;
    try {
      const writer = new RecordFileWriter(opened);
      const payload = new ByteWriter(64 * 1024);
      for (const batch of batches) {
        let from = 0;
        do {
          const to = Math.min(batch.count, from + SPOOL_RECORD_SAMPLES_MAX);
          payload.reset();
          forgotten += encodeSpoolRecord(batch, from, to, appender, payload);
          await writer.record(RECORD_TYPE, payload);
          from = to;
        } while (from < batch.count);
      }
      await writer.end();
      bytes = writer.bytes;
    } catch (caught) {
      await opened.close();
      await disk.remove(`${file}.tmp`);
      throw caught;
    }
    await opened.close();
    await disk.rename(`${file}.tmp`, file);
    await disk.syncFolder(this.#options.folder);
    this.#files.push({ name, samples, bytes });
    return { forgotten, madeRoom: await this.#makeRoom() };
  }

  /** Removes the oldest files while there are too many bytes; returns their samples. */
  async #makeRoom(): Promise<number> {
    let lost = 0;
    while (this.bytes > this.#options.bytesMax && this.#files.length > 1) {
      const oldest = this.#files.find((file) => file !== this.#reading);
      if (oldest === undefined) break;
      await this.#remove(oldest);
      lost += oldest.samples;
    }
    return lost;
  }

  /**
   * Visits the records of the oldest file one after another, and removes it once `whenRead` has resolved. When the visitor or
   * `whenRead` throws it stays, and is visited from its beginning the next time; but `bad_data` means that it is damaged:
   * it is put aside, with what was not read of it.
   *
   * @param whenRead  Resolves when all that was visited is safe elsewhere.
   */
  async takeOldest(
    visit: (payload: Uint8Array) => Promise<void> | undefined,
    whenRead: () => Promise<void>,
  ): Promise<void> {
    const file = this.#files[0];
    if (file === undefined) return;
    this.#reading = file;
    try {
      const damage = await this.#read(file, visit);
      await whenRead();
      if (damage === undefined) await this.#remove(file);
      else await this.#putAside(file, damage);
    } finally {
      this.#reading = undefined;
    }
  }

  async #read(
    file: SpoolFile,
    visit: (payload: Uint8Array) => Promise<void> | undefined,
  ): Promise<AppError | undefined> {
    try {
      await readRecordFile(
        path.join(this.#options.folder, file.name),
        ({ start, end }, bytes) => visit(bytes.subarray(start, end)),
        this.#deps,
      );
      return undefined;
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code !== 'bad_data') throw caught;
      return error;
    }
  }

  async #putAside(file: SpoolFile, error: AppError): Promise<void> {
    const name = path.join(this.#options.folder, file.name);
    this.#deps.logger.error(
      { file: `${name}.damaged`, samples: file.samples, reason: error.message },
      'a spool file is damaged: what could be read of it was sent, the file is put aside',
    );
    await this.#deps.disk.rename(name, `${name}.damaged`);
    this.#files = this.#files.filter((each) => each !== file);
  }

  async #remove(file: SpoolFile): Promise<void> {
    this.#files = this.#files.filter((each) => each !== file);
    await this.#deps.disk.remove(path.join(this.#options.folder, file.name));
  }
}
