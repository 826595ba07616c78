// Whether this store lost its disk: it is listed as one that holds blocks, and began with none. Until it has again what it is to have, its answers
// say that they lack samples: a querier that does without another store, since each block has a second copy, would take nothing for all there is.
// A file says so across restarts.
import path from 'node:path';
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { type Disk, replaceFile } from '../../lib/core/disk.ts';
import { toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { ControlPlane } from '../../lib/transport/control-plane.ts';

const MARKER_FILE = 'rebuilding';
const MARKER_TEXT =
  'This store began without blocks under a name that had some, and copies them. The file goes when all are here.\n';

export interface LostDiskDeps {
  readonly disk: Disk;
  readonly control: Pick<ControlPlane, 'isConnected' | 'placement' | 'onChange'>;
  readonly logger: Logger;
}

export class LostDisk {
  readonly #folder: string;
  readonly #instance: string;
  readonly #deps: LostDiskDeps;
  /** Undefined: it is not known yet whether there is a placement that lists this store. */
  #isLost: boolean | undefined = false;
  #noting: Promise<void> = Promise.resolve();

  constructor(options: { readonly dataDir: string; readonly instance: string }, deps: LostDiskDeps) {
    this.#folder = options.dataDir;
    this.#instance = options.instance;
    this.#deps = deps;
  }

  /**
   * To be called before others count on this process: whom the placement lists now it listed for an earlier one.
   *
   * @param isNew   The disk holds nothing, and no trace of an earlier life.
   * @param signal  Of the process' end.
   */
  async begin(isNew: boolean, signal: AbortSignal): Promise<void> {
    const { control, disk } = this.#deps;
    if ((await disk.list(this.#folder)).includes(MARKER_FILE)) {
      this.#isLost = true;
      return;
    }
    if (!isNew) return;
    this.#isLost = this.#isListed();
    if (this.#isLost === true) await this.#note();
    if (this.#isLost !== undefined) return;
    const unsubscribe = control.onChange(() => {
      this.#isLost ??= this.#isListed();
      if (this.#isLost === undefined) return;
      unsubscribe();
      if (this.#isLost)
        this.#noting = this.#note().catch((caught: unknown) =>
          this.#deps.logger.error({ err: toAppError(caught) }, 'it could not be noted that this disk is new'),
        );
    });
    signal.addEventListener('abort', unsubscribe, { once: true });
  }

  /** Why answers may lack anything; undefined where they do not. */
  get reason(): string | undefined {
    if (this.#isLost === false) return undefined;
    return this.#isLost === true
      ? 'the disk of this store was lost, and its blocks are still being copied'
      : 'the disk of this store is new, and it is not known yet which blocks it is to have';
  }

  /** Resolves when nothing is being written. */
  idle(): Promise<void> {
    return this.#noting;
  }

  /** All that any store of the placement has for this one is here. */
  async restored(): Promise<void> {
    if (this.#isLost !== true) return;
    await this.#noting;
    await this.#deps.disk.remove(path.join(this.#folder, MARKER_FILE));
    await this.#deps.disk.syncFolder(this.#folder);
    this.#isLost = false;
    this.#deps.logger.info({}, 'all blocks are here again that this store is to have');
  }

  /** Of a cluster that is only just made there is no placement, and NATS says so; undefined while it says nothing. */
  #isListed(): boolean | undefined {
    const { control } = this.#deps;
    const placement = control.placement();
    if (placement === undefined) return control.isConnected() ? false : undefined;
    return placement.stores.some(({ instance }) => instance === this.#instance);
  }

  async #note(): Promise<void> {
    const { disk, logger } = this.#deps;
    logger.warn({}, 'this store is known, and its disk is empty: its blocks are copied from others');
    await replaceFile(disk, this.#folder, MARKER_FILE, encodeUtf8(MARKER_TEXT));
  }
}
