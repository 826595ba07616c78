// The scraper's own flags, beside those of every service process.
import {
  CONFIG_FLAGS,
  DATA_FLAGS,
  INGEST_FLAGS,
  RETENTION_FLAGS,
  SCRAPE_FLAGS,
} from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';

export const SCRAPER_FLAGS = {
  ...CONFIG_FLAGS,
  ...DATA_FLAGS,
  ...SCRAPE_FLAGS,
  ...RETENTION_FLAGS,
  ...INGEST_FLAGS,
} as const satisfies FlagTable;
