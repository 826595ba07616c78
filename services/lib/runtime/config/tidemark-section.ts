// Our own section of the configuration file.
import { AppError } from '../../core/errors.ts';
import { compileMatcher } from '../../model/matcher.ts';
import { readSeriesMatchers } from '../../rules/series-matchers.ts';
import type { Section } from './section.ts';
import {
  type DownsamplingLevel,
  NO_STORAGE_POLICY,
  type RetentionRule,
  type StoragePolicy,
} from './storage-policy.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 3_600_000;
/** Each level takes its own pass over every block. */
const LEVELS_MAX = 4;
/** Every series of a block is held against each rule. */
const RULES_MAX = 100;

/** @throws ConfigError at the first thing that is wrong. */
export function readTidemark(section: Section | undefined): StoragePolicy {
  if (section === undefined) return NO_STORAGE_POLICY;
  const policy = { downsampling: readDownsampling(section), retention: readRetention(section) };
  section.finish();
  return policy;
}

function readDownsampling(section: Section): readonly DownsamplingLevel[] {
  const levels: DownsamplingLevel[] = [];
  const items = section.sections('downsampling');
  if (items.length > LEVELS_MAX)
    throw section.error('downsampling', `${items.length} resolutions; at most ${LEVELS_MAX} are made`);
  for (const item of items) levels.push(readLevel(item, levels.at(-1)));
  return levels;
}

function readLevel(item: Section, before: DownsamplingLevel | undefined): DownsamplingLevel {
  const resolutionMs = requiredDuration(item, 'resolution');
  if (resolutionMs < MINUTE_MS || resolutionMs > DAY_MS || DAY_MS % resolutionMs !== 0)
    throw item.error('resolution', 'must be from 1m to 1d and divide a day, like 5m or 1h');
  if (
    before !== undefined &&
    (resolutionMs <= before.resolutionMs || resolutionMs % before.resolutionMs !== 0)
  )
    throw item.error('resolution', 'must be a multiple of the one before; put the finest first');
  const afterMs = requiredDuration(item, 'after');
  if (afterMs < resolutionMs) throw item.error('after', 'must not be shorter than the resolution');
  const retentionMs = requiredDuration(item, 'retention');
  if (retentionMs > 0 && retentionMs <= afterMs)
    throw item.error('retention', 'must be longer than "after", or 0 for ever');
  item.finish();
  return { resolutionMs, afterMs, retentionMs };
}

function readRetention(section: Section): readonly RetentionRule[] {
  const items = section.sections('retention');
  if (items.length > RULES_MAX)
    throw section.error('retention', `${items.length} rules; at most ${RULES_MAX} are taken`);
  return items.map((item) => {
    const match = item.requiredText('match');
    const rule = { match, matchers: readMatch(item, match), retentionMs: requiredDuration(item, 'time') };
    item.finish();
    return rule;
  });
}

function readMatch(item: Section, match: string) {
  try {
    const matchers = readSeriesMatchers(match);
    for (const matcher of matchers) compileMatcher(matcher);
    return matchers;
  } catch (caught) {
    const reason = caught instanceof AppError ? caught.message : String(caught);
    throw item.error('match', `${JSON.stringify(match)} is not a series selector: ${reason}`);
  }
}

function requiredDuration(item: Section, key: string): number {
  const duration = item.durationMs(key);
  if (duration === undefined) throw item.error(key, 'is required; write it like 5m, 30d or 0');
  return duration;
}
