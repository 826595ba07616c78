// Language features as they travel: by the names of those that are on.
import { ALL_FEATURES, DEFAULT_FEATURES, type PromqlFeatures } from '../promql/features.ts';

const NAMES = Object.keys(ALL_FEATURES) as (keyof PromqlFeatures)[];

export function namesOfFeatures(features: PromqlFeatures): string[] {
  return NAMES.filter((name) => features[name]);
}

/** The features of that list; undefined when one of them is not known here: whoever asks is of a later version. */
export function tryFeaturesOf(names: readonly string[]): PromqlFeatures | undefined {
  const known = new Set<string>(NAMES);
  if (names.some((name) => !known.has(name))) return undefined;
  const on = new Set(names);
  return { ...DEFAULT_FEATURES, ...Object.fromEntries(NAMES.map((name) => [name, on.has(name)])) };
}
