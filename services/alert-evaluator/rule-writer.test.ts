import { expect, test } from 'vitest';
import type { Appender, WriteColumns } from '../lib/distributor/appender.ts';
import { FloatHistogram } from '../lib/model/float-histogram.ts';
import { decodeHistogram } from '../lib/model/histogram-codec.ts';
import { Labels } from '../lib/model/labels.ts';
import { isStaleAt, wordsOf } from '../lib/model/sample-columns.ts';
import { recordVector } from '../lib/rules/recording.ts';
import { RuleSamples } from '../lib/rules/rule-samples.ts';
import { writeRuleSamples } from './rule-writer.ts';

/** An appender that keeps what is written: floats as text, histograms by series. */
function createAppender() {
  const series: string[] = [];
  const floats: string[] = [];
  const histograms: [string, number, FloatHistogram][] = [];
  const keep = ({ count, references, timestampsMs, values, extras }: WriteColumns): void => {
    const words = wordsOf(values);
    for (let i = 0; i < count; i++) {
      const value = isStaleAt(words, i) ? 'stale' : values[i]!;
      floats.push(`${series[references[i]!]} ${value} @${timestampsMs[i]}`);
    }
    for (let i = 0; i < (extras?.count ?? 0); i++) {
      const { histogram } = decodeHistogram(extras!.bytes, extras!.starts[i]!, extras!.ends[i]!);
      histograms.push([series[extras!.references[i]!]!, extras!.timestampsMs[i]!, histogram]);
    }
  };
  const appender: Appender = {
    resolve: (labels) => series.push(`${labels.get('__name__')} ${labels.get('job')}`) - 1,
    resolveBytes: () => 0,
    labelsOf: () => undefined,
    write: async (columns) => {
      keep(columns);
      const written = columns.count + (columns.extras?.count ?? 0);
      return {
        written,
        histogramsWritten: 0,
        rejected: 0,
        exemplarsWritten: 0,
        exemplarsRejected: 0,
        firstRejection: undefined,
      };
    },
  };
  return { appender, floats, histograms };
}

test('a recorded vector of floats and histograms is written as both, staleness markers included', async () => {
  const { appender, floats, histograms } = createAppender();
  const histogram = Object.assign(new FloatHistogram(), {
    hint: 'not_reset',
    count: 2.5,
    sum: 1,
    positive: { indexes: [3], counts: [2.5] },
  });
  const gauge = histogram.withHint('gauge');
  const samples = new RuleSamples();
  recordVector(
    { name: 'r', labels: [] } as unknown as Parameters<typeof recordVector>[0],
    {
      labels: ['a', 'b', 'c', 'd'].map((job) => Labels.from([['job', job]])),
      values: Float64Array.of(1, 0, 3, 0),
      histograms: [undefined, histogram, undefined, gauge],
    },
    5000,
    0,
    samples,
  );
  samples.addStale(Labels.from([['__name__', 'gone']]), 5000);
  await writeRuleSamples(samples, appender, AbortSignal.timeout(5000));
  expect(floats).toEqual(['r a 1 @5000', 'r c 3 @5000', 'gone  stale @5000']);
  expect(histograms.map(([series, at, { hint }]) => [series, at, hint])).toEqual([
    ['r b', 5000, 'unknown'],
    ['r d', 5000, 'gauge'],
  ]);
  expect(histograms[0]![2].positive).toEqual({ indexes: [3], counts: [2.5] });
});
