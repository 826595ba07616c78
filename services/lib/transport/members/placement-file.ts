// The last placement on a disk. NATS may be emptied while every process is down: whoever holds samples must still know who else
// does, or the first one back would begin with a placement of its own and answer alone.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { errorCodeOf } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import { writeDurably } from '../../runtime/data-directory.ts';
import type { PlacementRecord } from '../control-plane.ts';

/** Remembers a placement over restarts. */
export interface PlacementMemory {
  /** Undefined when none was written yet. @throws AppError `failed_precondition` when it cannot be read. */
  read(): PlacementRecord | undefined;
  /** Durable when it returns. */
  write(record: PlacementRecord): void;
}

const FILE_NAME = 'placement.json';

/** @param directory  The data directory; it must be there when something is written. */
export function createPlacementFile(directory: string): PlacementMemory {
  const file = path.join(directory, FILE_NAME);
  return {
    read: () => {
      try {
        const record = JSON.parse(readFileSync(file, 'utf8')) as PlacementRecord;
        if (!Number.isSafeInteger(record.epoch)) throw new Error('it has no epoch');
        return record;
      } catch (caught) {
        if (errorCodeOf(caught) === 'ENOENT') return undefined;
        const reason = caught instanceof Error ? caught.message : String(caught);
        throw new AppError(
          'failed_precondition',
          `cannot read the last known placement, ${file}: ${reason}; remove the file if the rest of the cluster is up`,
        );
      }
    },
    write: (record) => writeDurably(file, `${JSON.stringify(record)}\n`),
  };
}
