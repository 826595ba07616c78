// Groups are found on label bytes: the same as by names and values.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../../core/bytes.ts';
import { encodeLabels, Labels } from '../../../model/labels.ts';
import type { Aggregation } from '../../ast.ts';
import { DEFAULT_FEATURES } from '../../features.ts';
import { parseExpr } from '../../parse/parser.ts';
import { groupLabels, groupSeries } from './grouping.ts';

/** As it comes out of storage: bytes within others. */
function asView(labels: Labels): Labels {
  const writer = new ByteWriter(64);
  writer.u8(7);
  encodeLabels(labels, writer);
  const end = writer.length;
  writer.u8(9);
  return Labels.view(writer.take(), 1, end);
}

const names = fc.constantFrom(
  '__name__',
  'a',
  'ab',
  'b',
  'é',
  'n'.repeat(127),
  'n'.repeat(128),
  'n'.repeat(300),
);
const values = fc.constantFrom('1', '2', 'ü', 'v'.repeat(127), 'v'.repeat(128), 'v'.repeat(20_000));
const labelSets = fc.array(fc.tuple(names, values), { maxLength: 6 }).map((pairs) => Labels.from(pairs));

test('series are of one group where the labels that are left are equal', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(labelSets, fc.boolean()), { maxLength: 12 }),
      fc.uniqueArray(names, { maxLength: 3 }),
      fc.boolean(),
      (sets, grouping, without) => {
        const parsed = parseExpr('sum(x)', DEFAULT_FEATURES) as Aggregation;
        const series = sets.map(([labels, isView]) => ({
          labels: isView ? asView(labels) : labels,
          dropName: false,
        }));
        const { groupOf, labels } = groupSeries({ ...parsed, grouping, without }, series);
        const keys = sets.map(([each]) => groupLabels(each, grouping, without).key);
        expect(labels.map(({ key }) => key)).toEqual([...new Set(keys)]);
        for (const [i, key] of keys.entries()) expect(labels[groupOf[i]!]!.key).toBe(key);
      },
    ),
    { numRuns: 1000 },
  );
});
