// The store's own flags, beside those of every service process.
import { OBJSTORE_FLAGS } from '../lib/objstore/objstore-flags.ts';
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

/** Of what a store does to keep its blocks sound; all-in-one has them too. */
export const SCRUB_FLAGS = {
  'store.scrub-period': {
    type: 'duration',
    default: 7 * 24 * 3_600_000,
    desc: 'Every block is read and compared with its checksums once in this time. 0: never.',
  },
} as const satisfies FlagTable;

const REPLICATION_FLAGS = {
  'store.move-rate': {
    type: 'bytes',
    default: 64 << 20,
    desc: 'Most bytes per second that this store copies from others, and as many to object storage. 0: no limit.',
  },
  'store.rebuild-delay': {
    type: 'duration',
    default: 600_000,
    desc: 'Blocks of a store that is gone for longer are rebuilt on the others.',
  },
  'store.repair-interval': {
    type: 'duration',
    default: 10_000,
    desc: 'Between two looks at what this store should hold.',
  },
  'store.surplus-grace': {
    type: 'duration',
    default: 300_000,
    desc: 'How long the right owners hold a block before this store gives its copy away: longer than any query.',
  },
  'store.weight': {
    type: 'number',
    default: 1,
    min: 0.01,
    desc: 'Share of the blocks that this store takes, compared with others.',
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
  ...SCRUB_FLAGS,
  ...REPLICATION_FLAGS,
  ...OBJSTORE_FLAGS,
} as const satisfies FlagTable;
