// `--enable-feature`: Prometheus' names, and what they turn on here.
import { DEFAULT_FEATURES, type PromqlFeatures } from './features.ts';

const SWITCHES: Readonly<Record<string, keyof PromqlFeatures>> = {
  'promql-experimental-functions': 'experimentalFunctions',
  'promql-extended-range-selectors': 'extendedRangeSelectors',
  'promql-duration-expr': 'durationExpressions',
  'promql-binop-fill-modifiers': 'binopFillModifiers',
  'promql-delayed-name-removal': 'delayedNameRemoval',
  'use-start-timestamps': 'startTimestamps',
  'promql-per-step-stats': 'perStepStats',
};

/** What Prometheus has to be told to do and is always done here: kept with the samples, at no cost to who has none. */
const ALWAYS_ON: ReadonlySet<string> = new Set(['exemplar-storage', 'native-histograms', 'st-storage']);

/** Features of a command line. An unknown one is logged and has no effect, as in Prometheus. */
export function featuresOf(
  names: readonly string[],
  log: { warn(fields: object, message: string): void },
): PromqlFeatures {
  const features: { -readonly [K in keyof PromqlFeatures]: boolean } = { ...DEFAULT_FEATURES };
  for (const name of names) {
    if (Object.hasOwn(SWITCHES, name)) features[SWITCHES[name]!] = true;
    else if (!ALWAYS_ON.has(name))
      log.warn({ feature: name, known: Object.keys(SWITCHES) }, 'unknown feature has no effect');
  }
  return features;
}
