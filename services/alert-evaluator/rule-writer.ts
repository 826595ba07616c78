// Writes what rules produce through the distributor.
import { AppError } from '../lib/core/errors.ts';
import type { Appender, WriteColumns, WriteFence } from '../lib/distributor/appender.ts';
import { ExtraColumns } from '../lib/model/extra-columns.ts';
import { wordsOf } from '../lib/model/sample-columns.ts';
import type { RuleSamples } from '../lib/rules/rule-samples.ts';

/** Samples of one write: well under the distributor's own limit, large enough to amortise it. */
const WRITE_SAMPLES_MAX = 65_536;

/**
 * Writes a rule's samples.
 *
 * @param fence  The lease under which they were made, if any.
 * @throws AppError `bad_data` when samples were refused (the message gives the first reason), else as Appender.write.
 */
export async function writeRuleSamples(
  samples: RuleSamples,
  appender: Appender,
  signal: AbortSignal,
  fence?: WriteFence,
): Promise<void> {
  let rejected = 0;
  let firstRejection: string | undefined;
  for (let from = 0; from < samples.count; from += WRITE_SAMPLES_MAX) {
    const to = Math.min(from + WRITE_SAMPLES_MAX, samples.count);
    const outcome = await appender.write(columnsOf(samples, from, to, appender), [], signal, fence);
    rejected += outcome.rejected;
    firstRejection ??= outcome.firstRejection;
  }
  if (rejected === 0) return;
  throw new AppError(
    'bad_data',
    `${rejected} of ${samples.count} samples were refused; the first: ${firstRejection ?? 'no reason given'}`,
  );
}

function columnsOf(samples: RuleSamples, from: number, to: number, appender: Appender): WriteColumns {
  const references = new Uint32Array(to - from);
  for (let i = from; i < to; i++) references[i - from] = appender.resolve(samples.labels[i]!);
  const columns = {
    count: to - from,
    references,
    timestampsMs: samples.timestampsMs.subarray(from, to),
    values: samples.values.subarray(from, to),
  };
  return samples.histograms.size === 0 ? columns : withHistograms(columns, samples, from);
}

/** The columns with the histograms among the samples taken out and put beside them. */
function withHistograms(columns: WriteColumns, samples: RuleSamples, from: number): WriteColumns {
  const extras = new ExtraColumns();
  const references = new Uint32Array(columns.count);
  const timestampsMs = new Float64Array(columns.count);
  const values = new Float64Array(columns.count);
  const words = wordsOf(values);
  const given = wordsOf(columns.values);
  let count = 0;
  for (let i = 0; i < columns.count; i++) {
    const histogram = samples.histograms.get(from + i);
    if (histogram !== undefined) {
      // What is known of resets is known of the query's samples, not of the recorded ones: their counts tell.
      const own = histogram.hint === 'not_reset' ? histogram.withHint('unknown') : histogram;
      extras.addHistogram(columns.references[i]!, columns.timestampsMs[i]!, own, 'float');
      continue;
    }
    references[count] = columns.references[i]!;
    timestampsMs[count] = columns.timestampsMs[i]!;
    words[2 * count] = given[2 * i]!;
    words[2 * count + 1] = given[2 * i + 1]!;
    count++;
  }
  return { count, references, timestampsMs, values, extras };
}
