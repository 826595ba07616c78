// The store's own flags, beside those of every service process.
import { DATA_FLAGS, RETENTION_FLAGS, RETENTION_SIZE_FLAGS } from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';

/** Of what a store does to its blocks; all-in-one has them too. */
export const COMPACTION_FLAGS = {
  'store.delete-delay': {
    type: 'duration',
    default: 24 * 3_600_000,
    desc: 'Time until blocks are rewritten without deleted samples; a delete can be undone until then.',
  },
} as const satisfies FlagTable;

/** A store reads nothing else of the file: everywhere else it is needed. */
const POLICY_FLAGS = {
  'config.file': {
    type: 'string',
    default: '',
    desc: 'Configuration file, of which `tidemark:` (downsampling, retention) concerns stores. Empty: none.',
  },
} as const satisfies FlagTable;

export const STORE_FLAGS = {
  ...POLICY_FLAGS,
  ...DATA_FLAGS,
  ...RETENTION_FLAGS,
  ...RETENTION_SIZE_FLAGS,
  ...COMPACTION_FLAGS,
} as const satisfies FlagTable;
