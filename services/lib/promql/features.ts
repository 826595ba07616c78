// Feature flags of PromQL (`--enable-feature`), as Prometheus names them.

export interface PromqlFeatures {
  /** promql-experimental-functions: functions and aggregations marked experimental. */
  readonly experimentalFunctions: boolean;
  /** promql-extended-range-selectors: `anchored` and `smoothed`. */
  readonly extendedRangeSelectors: boolean;
  /** promql-duration-expr; on by default since Prometheus 3.14. */
  readonly durationExpressions: boolean;
  /** promql-binop-fill-modifiers: `fill`, `fill_left`, `fill_right`. */
  readonly binopFillModifiers: boolean;
  /** promql-delayed-name-removal. */
  readonly delayedNameRemoval: boolean;
  /** use-start-timestamps: start times of samples tell of counter resets. */
  readonly startTimestamps: boolean;
  /** promql-per-step-stats: `stats=all` says what each step used. */
  readonly perStepStats: boolean;
}

/** What a Prometheus 3.14 without `--enable-feature` has. */
export const DEFAULT_FEATURES: PromqlFeatures = {
  experimentalFunctions: false,
  extendedRangeSelectors: false,
  durationExpressions: true,
  binopFillModifiers: false,
  delayedNameRemoval: false,
  startTimestamps: false,
  perStepStats: false,
};

/** Everything on: what upstream's test scripts assume. */
export const ALL_FEATURES: PromqlFeatures = {
  experimentalFunctions: true,
  extendedRangeSelectors: true,
  durationExpressions: true,
  binopFillModifiers: true,
  delayedNameRemoval: true,
  startTimestamps: true,
  perStepStats: true,
};
