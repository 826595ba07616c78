// Reads all blocks again and again, slowly, and compares them with their checksums. A corrupt one is set aside, as when a query had
// met it; other stores have it, and the repairer copies it back. What was checked when is kept in a file, so that a store that is
// restarted every day still gets through.
import path from 'node:path';
import type { Clock } from '../../lib/core/clock.ts';
import { type Disk, errorCodeOf, replaceFile, tryReadFile } from '../../lib/core/disk.ts';
import { toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { BLOCK_FILE_NAMES, META_BYTES_MAX, renderBlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { corruptBlock } from '../../lib/tsdb/block/page-codec.ts';
import { type BlockCatalog, type BlockLease, bytesOf } from '../blocks/block-catalog.ts';
import type { BlockFolders } from '../blocks/block-folders.ts';
import { fileCrc } from '../blocks/file-crc.ts';
import { ByteRate } from './byte-rate.ts';
import type { ReplicationMetrics } from './replication-metrics.ts';

export interface ScrubberOptions {
  readonly dataDir: string;
  /** Every block is read once in so long; 0: never. */
  readonly periodMs: number;
}

export interface ScrubberDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ReplicationMetrics;
}

const STATE_FILE = 'scrub.json';
const STATE_BYTES_MAX = 256 << 20;
const SAVE_INTERVAL_MS = 5 * 60_000;
/** Faster than the period asks for, so that it is done in time with rests and restarts. */
const HEADROOM = 1.5;
const BYTES_PER_SECOND_MIN = 4 << 20;
const PAUSE_MS_MAX = 60_000;
const PAUSES_PER_PERIOD = 100;

export class Scrubber {
  readonly #options: ScrubberOptions;
  readonly #deps: ScrubberDeps;
  /** `<tenant>/<block id>` → Unix ms. */
  readonly #checkedMs = new Map<string, number>();
  #savedAtMs = 0;
  #isDirty = false;
  /** Blocks found corrupt since the start. */
  corrupt = 0;

  constructor(options: ScrubberOptions, deps: ScrubberDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** When the block that was checked longest ago was checked, Unix ms; 0 when one never was, now when there are none. */
  checkedSinceMs(): number {
    let oldest = this.#deps.clock.nowMs();
    for (const { tenant, blockId } of this.#deps.catalog.list())
      oldest = Math.min(oldest, this.#checkedMs.get(`${tenant}/${blockId}`) ?? 0);
    return oldest;
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#deps;
    if (this.#options.periodMs <= 0) return;
    await this.#load();
    while (!signal.aborted) {
      let pauseMs = PAUSE_MS_MAX;
      try {
        pauseMs = await this.runOnce(signal);
      } catch (caught) {
        if (!signal.aborted) logger.error({ err: toAppError(caught) }, 'scrub failed; it is tried again');
      }
      await this.#saveWhenDue(signal.aborted);
      if (pauseMs > 0) await clock.sleep(pauseMs, signal).catch(() => undefined);
    }
    await this.#saveWhenDue(true);
  }

  /** Checks the block that is most due. Returns how long to wait until another is. */
  async runOnce(signal: AbortSignal): Promise<number> {
    const { catalog, clock } = this.#deps;
    const { periodMs } = this.#options;
    const metas = catalog.list();
    const held = new Set<string>();
    let due: { readonly key: string; readonly tenant: string; readonly blockId: string } | undefined;
    let dueMs = Number.POSITIVE_INFINITY;
    for (const { tenant, blockId } of metas) {
      const key = `${tenant}/${blockId}`;
      held.add(key);
      const checkedMs = this.#checkedMs.get(key) ?? 0;
      if (checkedMs >= dueMs) continue;
      dueMs = checkedMs;
      due = { key, tenant, blockId };
    }
    for (const key of this.#checkedMs.keys()) if (!held.has(key)) this.#checkedMs.delete(key);
    const waitMs = dueMs + periodMs - clock.nowMs();
    // Blocks that come meanwhile are not to wait for long.
    if (due === undefined || waitMs > 0)
      return Math.min(PAUSE_MS_MAX, Math.max(1, periodMs / PAUSES_PER_PERIOD));
    const bytes = metas.reduce((sum, meta) => sum + bytesOf(meta), 0);
    const rate = new ByteRate(Math.max(BYTES_PER_SECOND_MIN, (HEADROOM * bytes * 1000) / periodMs), {
      clock,
    });
    const lease = catalog.tryLease(due.tenant, due.blockId);
    if (lease === undefined) return 1;
    try {
      await this.#check(lease, rate, signal);
      this.#checkedMs.set(due.key, clock.nowMs());
      this.#isDirty = true;
    } finally {
      await lease.release();
    }
    return 0;
  }

  async #check(lease: BlockLease, rate: ByteRate, signal: AbortSignal): Promise<void> {
    const { catalog, disk, folders, metrics } = this.#deps;
    const { dir, meta } = lease;
    try {
      const metaFile = path.join(dir, 'meta.json');
      await folders.exclusively(async () => {
        const known = catalog.find(meta.tenant, meta.blockId);
        if (known === undefined) return;
        const text = await tryReadFile(disk, metaFile, META_BYTES_MAX);
        if (text === undefined || Buffer.from(text).toString() !== renderBlockMeta(known))
          throw corruptBlock(metaFile, 'it is not what it was when the block was opened');
      });
      // What object storage has is its own to keep sound; its pages are checked when they are read.
      for (const name of lease.isEvicted ? (['index'] as const) : BLOCK_FILE_NAMES) {
        const file = path.join(dir, name);
        const crc = await fileCrc(file, disk, (length) => {
          metrics.scrubbedBytes.inc(length);
          return rate.take(length, signal);
        });
        if (crc !== meta.files[name].crc32 >>> 0)
          throw corruptBlock(file, 'a scrub found that its CRC is another');
      }
    } catch (caught) {
      if (signal.aborted) throw caught;
      const code = errorCodeOf(caught);
      const isLost = code === 'EIO' || code === 'ENOENT';
      const damage = isLost ? corruptBlock(dir, `it cannot be read: ${code}`, caught) : caught;
      const thrown = await lease.examine(damage);
      if (this.#deps.catalog.has(meta.tenant, meta.blockId)) throw thrown;
      this.corrupt++;
      metrics.scrubCorrupt.inc();
    }
  }

  /** A file that is not there or cannot be read costs a scrub of all blocks, nothing else. */
  async #load(): Promise<void> {
    const { disk, logger } = this.#deps;
    const file = path.join(this.#options.dataDir, STATE_FILE);
    try {
      const bytes = await tryReadFile(disk, file, STATE_BYTES_MAX);
      const parsed: unknown = bytes === undefined ? {} : JSON.parse(Buffer.from(bytes).toString());
      for (const [key, checkedMs] of Object.entries(parsed as Record<string, unknown>))
        if (typeof checkedMs === 'number') this.#checkedMs.set(key, checkedMs);
    } catch (caught) {
      if (errorCodeOf(caught) !== 'ENOENT')
        logger.warn({ file, err: toAppError(caught) }, 'all blocks are checked anew');
    }
  }

  async #saveWhenDue(isLast: boolean): Promise<void> {
    const { clock, disk, logger } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (!this.#isDirty || (!isLast && nowMs - this.#savedAtMs < SAVE_INTERVAL_MS)) return;
    try {
      const text = JSON.stringify(Object.fromEntries(this.#checkedMs));
      await replaceFile(disk, this.#options.dataDir, STATE_FILE, Buffer.from(text));
      this.#isDirty = false;
    } catch (caught) {
      logger.warn({ err: toAppError(caught) }, 'what the scrub checked could not be noted');
    }
    this.#savedAtMs = nowMs;
  }
}
