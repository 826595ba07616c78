// The store's own flags, beside those of every service process.
import { DATA_FLAGS, RETENTION_FLAGS, RETENTION_SIZE_FLAGS } from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';

export const STORE_FLAGS = {
  ...DATA_FLAGS,
  ...RETENTION_FLAGS,
  ...RETENTION_SIZE_FLAGS,
} as const satisfies FlagTable;
