// The store's folders below the data directory. Whatever appears or goes does so by a rename inside one file system.
import path from 'node:path';
import type { Disk } from '../../lib/core/disk.ts';
import { failpoint } from '../../lib/core/failpoint.ts';

export class BlockFolders {
  /** `blocks/<tenant>/<block id>`: whole blocks and nothing else. */
  readonly blocks: string;
  /** Blocks that are being taken, and those that are being deleted. Emptied at start. */
  readonly transit: string;
  /** Blocks that are being copied from other stores, `<tenant>/<block id>`: what is here of one stays for the next try. */
  readonly partial: string;
  /** Corrupt blocks, for a person to look at: `<tenant>/<block id>`. */
  readonly quarantine: string;
  /** Deletes and their audit record: `<tenant>/`. */
  readonly tombstones: string;
  /** Hard-linked copies for backups: `<name>/`. */
  readonly snapshots: string;
  readonly #disk: Disk;
  #transits = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(dataDir: string, disk: Disk) {
    this.blocks = path.join(dataDir, 'blocks');
    this.transit = path.join(dataDir, 'blocks-transit');
    this.partial = path.join(dataDir, 'blocks-partial');
    this.quarantine = path.join(dataDir, 'blocks-quarantine');
    this.tombstones = path.join(dataDir, 'tombstones');
    this.snapshots = path.join(dataDir, 'snapshots');
    this.#disk = disk;
  }

  /** Makes the folders and removes what a crash left half done. */
  async prepare(): Promise<void> {
    await this.#disk.remove(this.transit);
    for (const folder of [this.blocks, this.transit, this.quarantine]) await this.#disk.makeFolder(folder);
    await this.#disk.syncFolder(path.dirname(this.blocks));
  }

  /** A fresh name in `transit`. */
  newTransit(blockId: string): string {
    return path.join(this.transit, `${blockId}.${this.#transits++}`);
  }

  /** Runs one change of what is visible at a time. */
  async exclusively<T>(change: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(change);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  /** Moves a folder and makes the move durable. */
  async move(from: string, to: string): Promise<void> {
    await this.#disk.makeFolder(path.dirname(to));
    await this.#disk.syncFolder(path.dirname(path.dirname(to)));
    failpoint('block-rename-before');
    await this.#disk.rename(from, to);
    await this.#disk.syncFolder(path.dirname(to));
    await this.#disk.syncFolder(path.dirname(from));
    failpoint('block-rename-after');
  }

  /** Removes a block's folder: out of sight first, so that a crash leaves nothing half deleted among the blocks. */
  async remove(folder: string): Promise<void> {
    const doomed = this.newTransit(path.basename(folder));
    await this.#disk.rename(folder, doomed);
    await this.#disk.syncFolder(path.dirname(folder));
    await this.#disk.remove(doomed);
  }
}
