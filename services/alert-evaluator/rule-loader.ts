// Finds rule files by their patterns and reads them: all of them are good, or none is used.
import { glob, readFile, stat } from 'node:fs/promises';
import { AppError, toAppError } from '../lib/core/errors.ts';
import type { PromqlFeatures } from '../lib/promql/features.ts';
import {
  type NameValidation,
  parseRuleFile,
  RULE_FILE_BYTES_MAX,
  type RuleGroupSpec,
} from '../lib/rules/rule-file.ts';

/** Most files that the patterns may match together. */
export const RULE_FILES_MAX = 10_000;

export interface RuleLoaderOptions {
  readonly features: PromqlFeatures;
  readonly nameValidation: NameValidation;
}

/**
 * Reads all rule files.
 *
 * @param patterns  Glob patterns; one that matches nothing adds nothing, as in Prometheus.
 * @returns         Groups sorted by file, then in the file's order.
 * @throws AppError `bad_data` with every problem of every file: `FILE: LINE:COLUMN: reason`.
 */
export async function loadRuleGroups(
  patterns: readonly string[],
  options: RuleLoaderOptions,
): Promise<readonly RuleGroupSpec[]> {
  const files = await matchFiles(patterns);
  const groups: RuleGroupSpec[] = [];
  const problems: string[] = [];
  for (const file of files) {
    try {
      groups.push(...parseRuleFile(await readRuleFile(file), { file, ...options }));
    } catch (caught) {
      const error = toAppError(caught);
      problems.push(error.code === 'bad_data' ? error.message : `${file}: ${error.message}`);
    }
  }
  if (problems.length > 0) throw new AppError('bad_data', problems.join('\n'));
  return groups;
}

async function matchFiles(patterns: readonly string[]): Promise<string[]> {
  const files = new Set<string>();
  for (const pattern of patterns) {
    for await (const file of glob(pattern)) {
      files.add(file);
      if (files.size > RULE_FILES_MAX) {
        throw new AppError('bad_data', `rule_files: ${pattern} matches more than ${RULE_FILES_MAX} files`);
      }
    }
  }
  return [...files].sort();
}

async function readRuleFile(file: string): Promise<string> {
  const { size } = await stat(file);
  if (size > RULE_FILE_BYTES_MAX) {
    throw new AppError(
      'bad_data',
      `${file}: ${size} bytes are more than the limit of ${RULE_FILE_BYTES_MAX}`,
    );
  }
  return readFile(file, 'utf8');
}
