// What a node says in runs, out of a head's memory, is added without a look for its like as long as it is in order and the only one to
// say something; whatever else comes is united with it all the same.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ALL, appendNumbers, define, drain, newHead, runsOf } from '../../../test/support/head-rig.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { Labels } from '../../lib/model/labels.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import type { Head } from '../../lib/tsdb/head/head.ts';
import { selectHead } from '../../lib/tsdb/head/head-select.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { SeriesUnion } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';

/** In label order. */
const SETS = Array.from({ length: 60 }, (_, i) => {
  const n = `${i}`.padStart(2, '0');
  return i % 3 === 0 ? { __name__: 'm', n } : { __name__: 'm', n, replica: `${i % 2}` };
});

/** One series' samples, of whatever node. Runs are not for those that have late ones. */
const samplesOf = (series: number): [number, number][] => [
  [500 + series, series],
  [600 + series, 1],
];

function headOf(series: readonly number[], late: ReadonlySet<number>): Head {
  const head = newHead(4);
  for (const i of series) {
    const samples = samplesOf(i);
    appendNumbers(head, define(head, SETS[i]!), late.has(i) ? samples.toReversed() : samples);
  }
  return head;
}

/** Series of two nodes in the order of their definition, which is none of labels; who answers, with runs or without, perhaps once more. */
const drawn = fc.tuple(
  fc.array(
    fc.record({
      series: fc.shuffledSubarray([...SETS.keys()]),
      late: fc.subarray([...SETS.keys()], { maxLength: 2 }),
    }),
    { minLength: 2, maxLength: 2 },
  ),
  fc.array(fc.record({ node: fc.nat(1), isRuns: fc.boolean() }), { minLength: 1, maxLength: 3 }),
);

test.each([
  ['', []],
  [', replicas in one', ['replica']],
])('runs and frames of several nodes are one union%s', async (_name, replicaLabels) => {
  let added = 0;
  await fc.assert(
    fc.asyncProperty(drawn, async ([nodes, answers]) => {
      const union = new SeriesUnion({ seriesMax: 1000, hashSeed: 7, replicaLabels }, { charge: () => {} });
      const heads = nodes.map(({ series, late }) => headOf(series, new Set(late)));
      for (const { node, isRuns } of answers) {
        const head = heads[node]!;
        const frames = new SeriesFrameWriter();
        if (isRuns) {
          const { runs, hold } = runsOf(head, frames);
          for (const run of runs) union.addRun(run, `${node}`, hold);
          added += runs.length;
        } else drain(selectHead(head, ALL, systemClock, frames));
        for (const frame of frames.finish()) union.addFrame(frame, `${node}`);
      }
      await union.sort(new WorkPacer(new AbortController().signal));
      const set = new UnitedSeriesSet(union, []);
      const columns = new SampleColumns(4);
      const found = Array.from({ length: set.size }, (_, i) => {
        set.read(i, 0, 1000, columns);
        const times = Array.from(columns.timestampsMs.subarray(0, columns.count));
        return [set.labels(i).toString(), times.map((timeMs, s) => [timeMs, columns.values[s]])];
      });
      const expected = [...new Set(answers.flatMap(({ node }) => nodes[node]!.series))]
        .sort((x, y) => x - y)
        .map((i) => {
          const { replica: _, ...kept } = { replica: '', ...SETS[i]! };
          const labels = replicaLabels.length === 0 ? SETS[i]! : kept;
          return [Labels.from(Object.entries(labels)).toString(), samplesOf(i)];
        });
      expect(found).toEqual(expected);
      union.release();
    }),
    { numRuns: 200 },
  );
  expect(added).toBeGreaterThan(100);
});
