// Conformance and benchmark material that lives beside the project. Found through TIDEMARK_SHARED (default: the folder
// `shared` next to the repository); tests that need it are skipped, by name, where it is absent, and fail in CI.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url));
const sharedRoot = path.resolve(repositoryRoot, process.env.TIDEMARK_SHARED ?? '../shared');

/** Absolute path of a piece of shared material. */
export function sharedPath(...parts: readonly string[]): string {
  return path.join(sharedRoot, ...parts);
}

/**
 * Whether the material is there.
 *
 * @throws Error in CI (CI=true) when it is not.
 */
export function hasShared(...parts: readonly string[]): boolean {
  const found = existsSync(sharedPath(...parts));
  if (!found && process.env.CI === 'true') throw new Error(`CI needs ${sharedPath(...parts)}`);
  if (!found) console.warn(`skipped: ${sharedPath(...parts)} is not there (set TIDEMARK_SHARED)`);
  return found;
}
