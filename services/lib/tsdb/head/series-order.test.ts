import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { encodeLabels, Labels } from '../../model/labels.ts';
import { LabelIndex } from './label-index.ts';

const text = fc.constantFrom('a', 'b', 'ab', '__name__', 'é', 'x'.repeat(128), '\u{1F600}', 'z');
const labelSets = fc.uniqueArray(
  fc.array(fc.tuple(text, text), { maxLength: 4 }).map((pairs) => Labels.from(pairs)),
  { selector: (labels) => labels.key, maxLength: 60 },
);

function add(index: LabelIndex, id: number, labels: Labels): void {
  const writer = new ByteWriter();
  encodeLabels(labels, writer);
  index.add(id, writer.bytes, 0, writer.length);
}

function sorted(index: LabelIndex, ids: readonly number[]): number[] {
  const steps = index.order.sort(Uint32Array.from(ids));
  for (;;) {
    const step = steps.next();
    if (step.done === true) return Array.from(step.value);
  }
}

test('series come in label order, whether they were ranked before, in between or not at all', () => {
  fc.assert(
    fc.property(labelSets, fc.array(fc.nat(99), { maxLength: 12 }), (sets, shares) => {
      const index = new LabelIndex(7);
      let known = 0;
      for (const share of [...shares, 100]) {
        const until = Math.max(known, Math.floor((sets.length * share) / 100));
        // Ids do not follow the order in which series come.
        for (; known < until; known++) add(index, (known * 7919) % 101, sets[known]!);
        const wanted = sets.slice(0, known).filter((_, i) => (i + share) % 3 !== 0);
        const byId = new Map(sets.map((labels, i) => [(i * 7919) % 101, labels]));
        const ids = [...byId].filter(([, labels]) => wanted.includes(labels)).map(([id]) => id);
        const expected = [...wanted].sort((a, b) => a.compareTo(b)).map((labels) => labels.toString());
        expect(sorted(index, ids).map((id) => byId.get(id)!.toString())).toEqual(expected);
      }
    }),
  );
});
