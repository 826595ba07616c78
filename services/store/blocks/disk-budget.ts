// Room on the disk for blocks that are being taken: several at once must not each count on the same free bytes.
import type { Disk } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';

export class DiskBudget {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #keepFreeBytes: number;
  #reservedBytes = 0;

  /** @param options.keepFreeBytes  Left free whatever is reserved. */
  constructor(
    options: { readonly folder: string; readonly keepFreeBytes: number },
    deps: { readonly disk: Disk },
  ) {
    this.#folder = options.folder;
    this.#keepFreeBytes = options.keepFreeBytes;
    this.#disk = deps.disk;
  }

  /**
   * Sets bytes aside; call what it returns, once, when they are written or no longer wanted.
   *
   * @param what  For the message.
   * @throws AppError `unavailable` when there is no room.
   */
  async reserve(bytes: number, what: string): Promise<() => void> {
    this.#reservedBytes += bytes;
    try {
      const { freeBytes } = await this.#disk.space(this.#folder);
      const needed = this.#reservedBytes + this.#keepFreeBytes;
      if (freeBytes < needed) {
        throw new AppError(
          'unavailable',
          `no room for ${what}: ${freeBytes} bytes free, ${needed} needed with what is reserved; ` +
            'free some, or lower the retention',
        );
      }
    } catch (caught) {
      this.#reservedBytes -= bytes;
      throw caught;
    }
    return () => {
      this.#reservedBytes -= bytes;
    };
  }
}
