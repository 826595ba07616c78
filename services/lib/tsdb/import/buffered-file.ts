// A file read front to back in windows, jumps allowed: for files far larger than memory.
import type { DiskFile } from '../../core/disk.ts';
import { PrometheusFileError } from './prometheus-error.ts';

const WINDOW_BYTES = 1 << 20;

export class BufferedFile {
  readonly name: string;
  readonly size: number;
  readonly #file: DiskFile;
  #window = new Uint8Array(WINDOW_BYTES);
  #start = 0;
  #end = 0;

  private constructor(name: string, file: DiskFile, size: number) {
    this.name = name;
    this.#file = file;
    this.size = size;
  }

  /** Takes over the open file. */
  static async open(name: string, file: DiskFile): Promise<BufferedFile> {
    return new BufferedFile(name, file, await file.size());
  }

  /**
   * Up to `count` bytes from `offset`, fewer at the end of the file.
   *
   * @returns A view that is valid until the next call.
   */
  async peek(offset: number, count: number): Promise<Uint8Array> {
    const end = Math.min(this.size, offset + count);
    if (end <= offset) return this.#window.subarray(0, 0);
    if (offset < this.#start || end > this.#end) await this.#fill(offset, end - offset);
    return this.#window.subarray(offset - this.#start, Math.min(this.#end, end) - this.#start);
  }

  /** Exactly `count` bytes. @throws PrometheusFileError when the file ends before. */
  async read(offset: number, count: number): Promise<Uint8Array> {
    const bytes = await this.peek(offset, count);
    if (bytes.length === count) return bytes;
    throw new PrometheusFileError(this.name, offset, `${count} bytes wanted, ${bytes.length} are there`);
  }

  async #fill(offset: number, least: number): Promise<void> {
    if (least > this.#window.length) this.#window = new Uint8Array(least);
    const count = await this.#file.read(this.#window, 0, this.#window.length, offset);
    this.#start = offset;
    this.#end = offset + count;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
