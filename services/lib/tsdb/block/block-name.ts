// Names that become folders: tenants and block ids, checked by grammar before they touch a path.
import { createHash } from 'node:crypto';
import path from 'node:path';
import { AppError } from '../../core/errors.ts';

/** Digests of what makes a block the one it is: all series and all chunks, before paging and compression. */
export interface ContentDigests {
  readonly series: Buffer;
  readonly chunks: Buffer;
}

/** 128 bits of a digest of the content, in lower-case hexadecimal. */
const BLOCK_ID = /^[0-9a-f]{32}$/;
/** As object stores and file systems take them; no leading dot, so neither `.` nor `..` nor a hidden folder. */
const TENANT = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$/;

export function isBlockId(text: string): boolean {
  return BLOCK_ID.test(text);
}

/** True for a tenant name that can be a folder. */
export function isTenantName(text: string): boolean {
  return TENANT.test(text);
}

/**
 * Folder of a block below `root`.
 *
 * @throws AppError `bad_data` when tenant or id do not have their grammar; nothing outside `root` can be named.
 */
export function blockFolder(root: string, tenant: string, blockId: string): string {
  if (!isTenantName(tenant)) {
    throw new AppError(
      'bad_data',
      `tenant ${JSON.stringify(tenant)} is not 1 to 128 letters, digits, "_", "-" or (not first) "."`,
    );
  }
  if (!isBlockId(blockId)) {
    throw new AppError(
      'bad_data',
      `block id ${JSON.stringify(blockId)} is not 32 lower-case hexadecimal digits`,
    );
  }
  return path.join(root, tenant, blockId);
}

/**
 * The id: SHA-256 over tenant, first time, resolution and the two digests, its first 16 bytes in hexadecimal. Paging and compression
 * have no part in it, so replicas with another version of zstd build the same id.
 */
export function blockIdOf(
  tenant: string,
  minTimeMs: number,
  digests: ContentDigests,
  resolutionMs = 0,
): string {
  const hash = createHash('sha256');
  hash.update(`tidemark block 1\n${tenant}\n${minTimeMs}\n`);
  if (resolutionMs > 0) hash.update(`resolution ${resolutionMs}\n`);
  hash.update(digests.series);
  hash.update(digests.chunks);
  return hash.digest('hex').slice(0, 32);
}
