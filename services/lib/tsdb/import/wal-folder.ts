// Which segments a folder of Prometheus' write-ahead log has, and in which order they are read: the newest checkpoint, then
// the segments behind it.
import path from 'node:path';
import type { Disk } from '../../core/disk.ts';

export interface WalSegment {
  readonly file: string;
  /** Names it within the data directory: `wal/00000007`, `wal/checkpoint.00000006/00000000`. */
  readonly name: string;
  readonly bytes: number;
  /** The newest of its folder: it may end anywhere. */
  readonly isLast: boolean;
}

/** The segments of `<dataDir>/<folder>`; none where there is no such folder. */
export async function listWalSegments(dataDir: string, folder: string, disk: Disk): Promise<WalSegment[]> {
  const names = await disk.list(path.join(dataDir, folder));
  const checkpoints = names
    .map((name) => /^checkpoint\.(\d{8,})$/.exec(name))
    .filter((match) => match !== null)
    .map((match) => ({ name: match[0], number: Number(match[1]) }))
    .sort((a, b) => a.number - b.number);
  const newest = checkpoints.at(-1);
  const own = names.filter((name) => /^\d{8,}$/.test(name) && Number(name) > (newest?.number ?? -1));
  own.sort((a, b) => Number(a) - Number(b));
  const found =
    newest === undefined ? [] : await listWalSegments(dataDir, path.join(folder, newest.name), disk);
  for (const name of own) {
    const file = path.join(dataDir, folder, name);
    const handle = await disk.open(file, 'read');
    try {
      const isLast = name === own.at(-1);
      found.push({ file, name: path.join(folder, name), bytes: await handle.size(), isLast });
    } finally {
      await handle.close();
    }
  }
  return found;
}
