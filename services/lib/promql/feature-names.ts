// `--enable-feature`: Prometheus' names, and what they turn on here.
import { DEFAULT_FEATURES, type PromqlFeatures } from './features.ts';

const SWITCHES: Readonly<Record<string, keyof PromqlFeatures>> = {
  'promql-experimental-functions': 'experimentalFunctions',
  'promql-extended-range-selectors': 'extendedRangeSelectors',
  'promql-duration-expr': 'durationExpressions',
  'promql-binop-fill-modifiers': 'binopFillModifiers',
  'promql-delayed-name-removal': 'delayedNameRemoval',
  'use-start-timestamps': 'startTimestamps',
};

/** Features of a command line. An unknown one is logged and has no effect, as in Prometheus. */
export function featuresOf(
  names: readonly string[],
  log: { warn(fields: object, message: string): void },
): PromqlFeatures {
  const features: { -readonly [K in keyof PromqlFeatures]: boolean } = { ...DEFAULT_FEATURES };
  for (const name of names) {
    if (Object.hasOwn(SWITCHES, name)) features[SWITCHES[name]!] = true;
    else log.warn({ feature: name, known: Object.keys(SWITCHES) }, 'unknown feature has no effect');
  }
  return features;
}
