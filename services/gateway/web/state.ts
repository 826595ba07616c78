// What the query panel shows, kept in the address so that it can be shared: the parameters of Prometheus' own page
// (`g0.expr`, `g0.tab`, `g0.range_input`, `g0.end_input`, `g0.step_input`), which links in alerts use.
import { parseDuration, printDuration } from './format.ts';

export type Tab = 'graph' | 'table';

export interface PanelState {
  expr: string;
  tab: Tab;
  rangeSeconds: number;
  /** Unix seconds; undefined means now, whenever the query runs. */
  endSeconds: number | undefined;
  /** Undefined: chosen by the width of the range. */
  stepSeconds: number | undefined;
}

const RANGE_DEFAULT_SECONDS = 3600;

export function readState(search: string): PanelState {
  const parameters = new URLSearchParams(search);
  const tab = parameters.get('g0.tab');
  const end = parameters.get('g0.end_input') ?? parameters.get('g0.moment_input');
  return {
    expr: parameters.get('g0.expr') ?? '',
    tab: tab === '1' || tab === 'table' ? 'table' : 'graph',
    rangeSeconds: parseDuration(parameters.get('g0.range_input') ?? '') ?? RANGE_DEFAULT_SECONDS,
    endSeconds: end === null ? undefined : parseEnd(end),
    stepSeconds: parseDuration(parameters.get('g0.step_input') ?? ''),
  };
}

/** Prometheus writes the end in UTC: `2026-11-21 09:33:57`. */
function parseEnd(text: string): number | undefined {
  const timeMs = Date.parse(`${text.replace(' ', 'T')}Z`);
  return Number.isNaN(timeMs) ? undefined : timeMs / 1000;
}

export function writeState(state: PanelState): string {
  const parameters = new URLSearchParams();
  parameters.set('g0.expr', state.expr);
  parameters.set('g0.tab', state.tab);
  parameters.set('g0.range_input', printDuration(state.rangeSeconds));
  if (state.endSeconds !== undefined) {
    const end = new Date(state.endSeconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
    parameters.set('g0.end_input', end);
  }
  if (state.stepSeconds !== undefined) parameters.set('g0.step_input', printDuration(state.stepSeconds));
  return parameters.toString();
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400];
/** Fine enough for a line across a screen. */
const POINTS_MAX = 300;

/** The smallest step that people use which gives at most POINTS_MAX points. */
export function automaticStep(rangeSeconds: number): number {
  const least = rangeSeconds / POINTS_MAX;
  return STEPS.find((step) => step >= least) ?? Math.ceil(least / 86_400) * 86_400;
}
