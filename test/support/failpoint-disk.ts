// A disk whose operations have names, `before rename of checkpoint` say, so that a test can list the moments at which a process can
// die and try each (RELIABILITY R2), or let the nth sync of the log fail (R11).
import path from 'node:path';
import { type Disk, type DiskFile, systemDisk } from '../../services/lib/core/disk.ts';

/** What a file or folder is, by its name: few kinds, whatever their number. */
export function kindOf(file: string): string {
  const name = path.basename(file);
  const folder = path.basename(path.dirname(file));
  if (/^\d+\.log$/.test(name)) return 'segment';
  if (/^[0-9a-f]{32}(\.\d+)?$/.test(name)) return 'block';
  if (/^[0-9a-f]{32}(\.\d+)?$/.test(folder)) return `block ${name}`;
  return name.replaceAll(/\d+/g, 'N');
}

/** Called before and after each operation with its name; may not return. */
export type OnFailpoint = (point: string) => void;

export function failpointDisk(onPoint: OnFailpoint): Disk {
  const around = async <T>(operation: string, file: string, work: () => Promise<T>): Promise<T> => {
    const what = `${operation} of ${kindOf(file)}`;
    onPoint(`before ${what}`);
    const result = await work();
    onPoint(`after ${what}`);
    return result;
  };
  return {
    ...systemDisk,
    makeFolder: (folder) => around('makeFolder', folder, () => systemDisk.makeFolder(folder)),
    rename: (from, to) => around('rename', to, () => systemDisk.rename(from, to)),
    remove: (file) => around('remove', file, () => systemDisk.remove(file)),
    syncFolder: (folder) => around('syncFolder', folder, () => systemDisk.syncFolder(folder)),
    async open(file, mode): Promise<DiskFile> {
      if (mode === 'read') return await systemDisk.open(file, mode);
      const opened = await around(mode === 'log' ? 'create' : mode, file, () => systemDisk.open(file, mode));
      return {
        ...opened,
        write: (bytes, start, end, position) =>
          around('write', file, () => opened.write(bytes, start, end, position)),
        sync: () => around('sync', file, () => opened.sync()),
        truncate: (length) => around('truncate', file, () => opened.truncate(length)),
      };
    },
  };
}
