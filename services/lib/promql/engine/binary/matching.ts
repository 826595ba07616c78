// Which series of two vectors belong together: join signatures, and the label sets of results.
import { type Labels, METRIC_NAME } from '../../../model/labels.ts';
import type { VectorMatching } from '../../ast.ts';
import { withoutMetadata } from '../names.ts';
import type { SeriesMeta } from '../operand.ts';

/** Numbers of join signatures, from 0, the same for equal signatures of both sides. */
export interface Signatures {
  readonly count: number;
  readonly left: Int32Array;
  readonly right: Int32Array;
}

/** Numbers the signatures of both sides. */
export function signaturesOf(
  matching: VectorMatching,
  left: readonly SeriesMeta[],
  right: readonly SeriesMeta[],
): Signatures {
  const numbers = new Map<string, number>();
  const names = new Set(matching.labels);
  const key = matching.on
    ? (labels: Labels) => onKey(labels, matching.labels)
    : (labels: Labels) => ignoringKey(labels, names);
  const number = (series: readonly SeriesMeta[]): Int32Array => {
    const out = new Int32Array(series.length);
    for (let i = 0; i < series.length; i++) {
      const signature = key(series[i]!.labels);
      let known = numbers.get(signature);
      if (known === undefined) numbers.set(signature, (known = numbers.size));
      out[i] = known;
    }
    return out;
  };
  const leftNumbers = number(left);
  const rightNumbers = number(right);
  return { count: numbers.size, left: leftNumbers, right: rightNumbers };
}

function onKey(labels: Labels, names: readonly string[]): string {
  let key = '';
  for (const name of names) {
    const value = labels.get(name);
    key += `${value.length}:${value}`;
  }
  return key;
}

function ignoringKey(labels: Labels, names: ReadonlySet<string>): string {
  const { pairs } = labels;
  let key = '';
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i]!;
    if (name === METRIC_NAME || names.has(name)) continue;
    const value = pairs[i + 1]!;
    key += `${name.length}:${name}${value.length}:${value}`;
  }
  return key;
}

/** The labels that two series were matched by, for messages and for filled-in partners. */
export function matchedLabels(matching: VectorMatching, labels: Labels): Labels {
  return matching.on
    ? labels.filter((name) => matching.labels.includes(name))
    : labels.filter((name) => name !== METRIC_NAME && !matching.labels.includes(name));
}

/**
 * Labels of the result of a pair.
 *
 * @param many          Series of the side that may have several per signature (the left one in one-to-one matching).
 * @param dropMetadata  The operator makes something else of the metric.
 */
export function resultLabels(
  matching: VectorMatching,
  many: Labels,
  one: Labels,
  dropMetadata: boolean,
): Labels {
  let labels = dropMetadata ? withoutMetadata(many) : many;
  if (matching.cardinality === 'one-to-one') {
    labels = labels.filter((name) => matching.labels.includes(name) === matching.on);
  }
  for (const name of matching.include) {
    const value = one.get(name);
    if (value !== labels.get(name)) labels = labels.with(name, value);
  }
  return labels;
}
