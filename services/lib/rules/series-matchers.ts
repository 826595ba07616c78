// Matchers that a configuration names series by, written as PromQL writes a selector.
import type { Matcher } from '../model/matcher.ts';
import { parseMetricSelector } from '../promql/parse/parser.ts';

/** @throws AppError `bad_data` when the text is no selector. `{}` selects all series. */
export function readSeriesMatchers(text: string): readonly Matcher[] {
  return parseMetricSelector(text);
}
