// A snapshot: all blocks as hard links, and the deletes that hide samples of them, in a folder that a store can be started
// on. It costs no space until blocks are compacted or deleted, and it appears whole or not at all.
import { copyFile, link } from 'node:fs/promises';
import path from 'node:path';
import { type Disk, errorCodeOf } from '../../lib/core/disk.ts';
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import { BLOCK_FILE_NAMES } from '../../lib/tsdb/block/block-meta.ts';
import { isTenantName } from '../../lib/tsdb/block/block-name.ts';
import { MARKER_FILE } from '../../lib/tsdb/block/evicted-marker.ts';
import type { BlockCatalog, BlockLease } from './block-catalog.ts';
import type { BlockFolders } from './block-folders.ts';

export interface SnapshotDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly disk: Disk;
}

/** What makes a data directory the one it is, beside its blocks (lib/runtime/data-directory.ts). */
const IDENTITY_FILE = 'cluster.json';

/**
 * Makes `<data.dir>/snapshots/<name>`.
 *
 * @returns Blocks in it.
 * @throws AppError `bad_data` when the name cannot be a folder, `already_exists` when it is one, or the signal's reason; the
 *         error of the file system as it comes. Nothing stays behind then.
 */
export async function takeSnapshot(name: string, deps: SnapshotDeps, signal: AbortSignal): Promise<number> {
  const { folders, disk } = deps;
  if (!isTenantName(name)) {
    throw new AppError(
      'bad_data',
      `snapshot ${JSON.stringify(name)} is not 1 to 128 letters, digits, "_", "-" or (not first) "."`,
    );
  }
  const target = path.join(folders.snapshots, name);
  const transit = folders.newTransit('snapshot');
  const leases: BlockLease[] = [];
  try {
    await disk.makeFolder(transit);
    // One moment for blocks and deletes: a block without its deletes would show what they hide.
    await folders.exclusively(async () => {
      for (const { tenant, blockId } of deps.catalog.list()) {
        const lease = deps.catalog.tryLease(tenant, blockId);
        if (lease !== undefined) leases.push(lease);
      }
      await copyTombstones(folders.tombstones, path.join(transit, 'tombstones'), disk);
    });
    for (const lease of leases) {
      throwIfAborted(signal);
      await linkBlock(lease, path.join(transit, 'blocks'), disk);
    }
    await copyIfThere(path.join(path.dirname(folders.blocks), IDENTITY_FILE), transit);
    await disk.makeFolder(path.join(transit, 'blocks'));
    await disk.syncFolder(path.join(transit, 'blocks'));
    await disk.syncFolder(transit);
    await folders.exclusively(async () => {
      if ((await disk.list(folders.snapshots)).includes(name))
        throw new AppError('already_exists', `snapshot ${name} is there already`);
      await folders.move(transit, target);
    });
    return leases.length;
  } finally {
    await disk.remove(transit);
    for (const lease of leases) await lease.release();
  }
}

/** An evicted block stays one: its chunks are where they are. */
async function linkBlock({ meta, dir, isEvicted }: BlockLease, blocks: string, disk: Disk): Promise<void> {
  const folder = path.join(blocks, meta.tenant, meta.blockId);
  await disk.makeFolder(folder);
  const files = isEvicted ? ['index', MARKER_FILE] : BLOCK_FILE_NAMES;
  for (const file of ['meta.json', ...files]) {
    await link(path.join(dir, file), path.join(folder, file));
  }
  await disk.syncFolder(folder);
  await disk.syncFolder(path.dirname(folder));
}

/** Copies, not links: the tables are replaced by name, but the audit record is appended to. */
async function copyTombstones(from: string, to: string, disk: Disk): Promise<void> {
  for (const tenant of await disk.list(from)) {
    const folder = path.join(to, tenant);
    await disk.makeFolder(folder);
    for (const file of await disk.list(path.join(from, tenant))) {
      await copyIfThere(path.join(from, tenant, file), folder);
    }
    await disk.syncFolder(folder);
  }
}

async function copyIfThere(file: string, folder: string): Promise<void> {
  try {
    await copyFile(file, path.join(folder, path.basename(file)));
  } catch (caught) {
    if (errorCodeOf(caught) !== 'ENOENT') throw caught;
  }
}
