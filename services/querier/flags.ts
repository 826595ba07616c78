// The querier's own flags, beside those of every service process.
import { FEATURE_FLAGS, QUERY_FLAGS, REHEARSAL_FLAGS } from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';

export const QUERIER_FLAGS = {
  ...QUERY_FLAGS,
  ...REHEARSAL_FLAGS,
  'query.default-subquery-step': {
    type: 'duration',
    default: 60_000,
    desc: 'Step of subqueries that name none: the evaluation interval of the rules.',
  },
  'query.push-down': {
    type: 'boolean',
    default: true,
    desc: 'Has ingesters evaluate parts of queries over the samples that they hold, instead of asking for chunks.',
  },
  ...FEATURE_FLAGS,
} as const satisfies FlagTable;
