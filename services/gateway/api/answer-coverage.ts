// What an answer rests on, as clients see it: the header X-Tidemark-Coverage and `stats.coverage`; and the parameter by which
// they accept an answer that is not complete, or want the series of each replica.
import type { ServerResponse } from 'node:http';
import type { AnswerCoverage } from '../../lib/wire/contracts.ts';
import { invalidParameter, type Parameters } from '../http/parameters.ts';

const COVERAGE_HEADER = 'X-Tidemark-Coverage';

/** The spellings of Go's strconv.ParseBool, as Thanos' clients send them. */
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((text) => [text, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((text) => [text, false] as const),
]);

/**
 * `partial_response`: whether an incomplete answer, with warnings that say what is missing, is better than none. Default: it is not.
 *
 * @throws AppError `bad_data` for anything but a boolean.
 */
export function readPartialResponse(parameters: Parameters): boolean {
  return readBoolean(parameters, 'partial_response') ?? false;
}

/**
 * `dedup`: whether series of highly available pairs are merged; by default they are. False shows each server's own.
 *
 * @throws AppError `bad_data` for anything but a boolean.
 */
export function readKeepReplicas(parameters: Parameters): boolean {
  return readBoolean(parameters, 'dedup') === false;
}

/**
 * `nocache`, as VictoriaMetrics has it, or the header `Cache-Control: no-store`, as Mimir takes it: evaluate all of the query now.
 *
 * @throws AppError `bad_data` for anything but a boolean.
 */
export function readNoCache(parameters: Parameters, cacheControl: string | undefined): boolean {
  return readBoolean(parameters, 'nocache') ?? /(^|[\s,])no-store($|[\s,;])/i.test(cacheControl ?? '');
}

function readBoolean(parameters: Parameters, name: string): boolean | undefined {
  const text = parameters.get(name);
  if (text === '') return undefined;
  const value = BOOLEANS.get(text);
  if (value === undefined)
    throw invalidParameter(name, `cannot parse "${text}" to a boolean: use true or false`);
  return value;
}

/**
 * Sets the header, before the first byte of the answer. Partitions: those that are covered, of all. Replicas: those that answered for
 * a partition, of its owners, and how many of them are complete, where that is least. Copies of each block, likewise.
 */
export function setCoverageHeader(response: ServerResponse, coverage: AnswerCoverage | undefined): void {
  response.setHeader(COVERAGE_HEADER, printCoverage(coverage));
}

/** @param coverage  Undefined where nothing was read. */
export function printCoverage(coverage: AnswerCoverage | undefined): string {
  if (coverage === undefined) return 'complete';
  const fields = [coverage.complete ? 'complete' : 'partial'];
  const { groups, partitionCount, blockCopies, blockCopiesRead, minTimeMs, maxTimeMs } = coverage;
  if (groups.length > 0) {
    const covered = groups.reduce(
      (sum, { covered, partitions }) => sum + (covered ? partitions.length : 0),
      0,
    );
    const least = groups.reduce((a, b) => (b.answered < a.answered ? b : a));
    fields.push(`partitions=${covered}/${partitionCount}`, `replicas=${least.answered}/${least.owners}`);
    fields.push(`complete-replicas=${Math.min(...groups.map(({ complete }) => complete))}`);
  }
  fields.push(`block-copies=${blockCopiesRead}/${blockCopies}`);
  fields.push(`from=${minTimeMs / 1000}`, `to=${maxTimeMs / 1000}`);
  return fields.join('; ');
}

/** `stats.coverage`: times in seconds, partitions as ranges. */
export function coverageStats(coverage: AnswerCoverage): object {
  const { complete, partitionCount, minTimeMs, maxTimeMs, groups, blockCopies, blockCopiesRead } = coverage;
  const from = minTimeMs / 1000;
  const to = maxTimeMs / 1000;
  return {
    complete,
    partitions: partitionCount,
    from,
    to,
    ingesters: groups.map(({ partitions, fromMs, owners, answered, complete, covered }) => ({
      partitions: printRuns(partitions),
      from: Math.max(from, fromMs / 1000),
      to,
      owners,
      answered,
      complete,
      covered,
    })),
    stores: { from, to, copies: blockCopies, read: blockCopiesRead },
    missing: coverage.missing,
  };
}

/** Ascending numbers as `0-3,7`. */
function printRuns(numbers: readonly number[]): string {
  const runs: string[] = [];
  for (let i = 0; i < numbers.length; ) {
    const first = numbers[i]!;
    let last = first;
    for (i++; numbers[i] === last + 1; i++) last++;
    runs.push(first === last ? `${first}` : `${first}-${last}`);
  }
  return runs.join(',');
}
