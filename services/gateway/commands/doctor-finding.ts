// What `tidemark doctor` looks at, and what it says.
import type { ExaminedMember } from '../api/examine-api.ts';
import type { MovesAnswer } from '../api/store-moves-api.ts';
import type { MembersAnswer } from './status-table.ts';

/** What the checks look at. */
export interface Examined {
  readonly members: MembersAnswer & { readonly storeReplicationFactor: number };
  readonly moves: MovesAnswer;
  /** Flags of the gateway, as it shows them. */
  readonly flags: Readonly<Record<string, string>>;
  /** Of /api/v1/cluster/examine. This and what follows: absent where it cannot be had. */
  readonly examination?: { readonly members: readonly ExaminedMember[] } | undefined;
  readonly targets?: { readonly activeTargets: readonly TargetRow[] } | undefined;
  readonly rules?: { readonly groups: readonly GroupRow[] } | undefined;
  /** Of a query for the last samples of targets: `UPS_QUERY`. */
  readonly ups?: { readonly result: readonly SampledSeries[] } | undefined;
  readonly alertmanagers?: { readonly activeAlertmanagers: readonly { readonly url: string }[] } | undefined;
}

/** Of /api/v1/targets. */
export interface TargetRow {
  readonly scrapeUrl: string;
  readonly health: string;
  readonly lastError: string;
  /** Seconds. */
  readonly lastScrapeDuration: number;
  /** A duration: `10s`. */
  readonly scrapeTimeout: string;
}

/** Series with their samples: Unix seconds and the value as text. */
export interface SampledSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [number, string])[];
}

/** Long enough for several scrapes of a minute. Every sender of scraped series sends `up`. */
export const UPS_QUERY = 'up[8m]';

/** Of /api/v1/rules. */
export interface GroupRow {
  readonly name: string;
  readonly rules: readonly { readonly type: string; readonly name: string; readonly query: string }[];
}

export interface Finding {
  /** `error`: data or service is at risk now. `warning`: it would be with the next failure, or something is unlikely to be meant. */
  readonly severity: 'error' | 'warning';
  readonly problem: string;
  readonly remedy: string;
}

/** Clocks may differ so much before doctor speaks, seconds: leases and admission windows have far more room. */
export const SKEW_SECONDS_MAX = 5;

export const error = (problem: string, remedy: string): Finding => ({ severity: 'error', problem, remedy });
export const warning = (problem: string, remedy: string): Finding => ({
  severity: 'warning',
  problem,
  remedy,
});

const UNIT_SECONDS: Readonly<Record<string, number>> = {
  ...{ ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400, w: 604_800, y: 31_536_000 },
};

/** Of a duration as flags are shown: `1d12h`. Undefined when it is none. */
export function parseSeconds(text: string | undefined): number | undefined {
  if (text === undefined || !/^(\d+(ms|[smhdwy]))+$|^0$/.test(text)) return undefined;
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[smhdwy])/g))
    seconds += Number(count) * UNIT_SECONDS[unit!]!;
  return seconds;
}
