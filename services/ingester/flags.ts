// The ingester's own flags, beside those of every service process.
import { DATA_FLAGS } from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';
import { PLACEMENT_FLAGS } from '../lib/transport/process-flags.ts';

export const INGESTER_FLAGS = { ...DATA_FLAGS, ...PLACEMENT_FLAGS } as const satisfies FlagTable;
