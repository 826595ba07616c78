// The alert evaluator's own flags, beside those of every service process.
import {
  CONFIG_FLAGS,
  EXTERNAL_URL_FLAGS,
  FEATURE_FLAGS,
  INGEST_FLAGS,
  RETENTION_FLAGS,
  RULE_FLAGS,
} from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';

export const ALERT_EVALUATOR_FLAGS = {
  ...CONFIG_FLAGS,
  ...EXTERNAL_URL_FLAGS,
  ...RULE_FLAGS,
  ...RETENTION_FLAGS,
  ...INGEST_FLAGS,
  ...FEATURE_FLAGS,
} as const satisfies FlagTable;
