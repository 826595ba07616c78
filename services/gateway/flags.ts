// The gateway's own flags, beside those of every service process.
import {
  API_FLAGS,
  CONFIG_FLAGS,
  FEATURE_FLAGS,
  INGEST_FLAGS,
  QUERY_TIMEOUT_FLAGS,
  RETENTION_FLAGS,
} from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';

export const GATEWAY_FLAGS = {
  ...CONFIG_FLAGS,
  ...API_FLAGS,
  ...QUERY_TIMEOUT_FLAGS,
  ...RETENTION_FLAGS,
  ...INGEST_FLAGS,
  ...FEATURE_FLAGS,
} as const satisfies FlagTable;
