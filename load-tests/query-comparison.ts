// The same queries on several systems in turn: latency as a client sees it, and CPU of the server's threads in nanoseconds as
// the kernel counts it, so that queries of a few milliseconds can be told apart.
import { readdirSync, readFileSync } from 'node:fs';
import { usageOf } from './process-usage.ts';
import type { LoadQuery } from './query-load.ts';
import type { System } from './systems.ts';

export interface QueryWindow {
  readonly endSeconds: number;
  readonly spanSeconds: number;
}

/** A query of which it is known how many samples it reads. */
export interface Operation extends LoadQuery {
  /** What it selects, each of one metric: counts its samples. */
  readonly selectors: readonly string[];
}

/** What one system took for one query. */
export interface QueryFigures {
  /** Medians, milliseconds. */
  readonly latencyMs: number;
  readonly cpuMs: number;
  readonly series: number;
}

const CPU = 'node_cpu_seconds_total';
const SOME_CPUS = `${CPU}{instance=~"10\\\\.0\\\\.[1-5].*",mode!~"i.*"}`;

/** What engines do, one at a time, over the benchmark's data. */
export const OPERATIONS: readonly Operation[] = [
  operation('decode', [CPU], `count(count_over_time(${CPU}[1h]))`, 0),
  operation('rate', [CPU], `count(rate(${CPU}[5m]))`),
  operation('sum by', [CPU], `sum by (mode) (${CPU})`),
  // No histogram is among the data: the numbers of the CPUs stand for bounds of buckets.
  operation(
    'histogram_quantile',
    [CPU],
    `histogram_quantile(0.9, sum by (instance, le) (label_replace(rate(${CPU}{cpu="0"}[5m]), "le", "+Inf", "", "") or ` +
      `label_replace(rate(${CPU}{cpu!="0"}[5m]), "le", "$1", "cpu", "(.*)")))`,
  ),
  operation(
    'binary join',
    ['node_disk_written_bytes_total', 'node_disk_read_bytes_total'],
    'count(node_disk_written_bytes_total / on (instance, device) node_disk_read_bytes_total)',
  ),
  operation('topk', [CPU], `topk(5, ${CPU})`),
  operation('subquery', [`${CPU}{mode="user"}`], `max_over_time(sum(rate(${CPU}{mode="user"}[1m]))[10m:1m])`),
  operation('regex selection', [SOME_CPUS], `count(${SOME_CPUS})`),
];

function operation(
  name: string,
  selectors: readonly string[],
  expression: string,
  stepSeconds = 15,
): Operation {
  return { name, selectors, expression, stepSeconds };
}

/** Times that every query is asked before figures count: caches of files and compiled code fill. */
const WARM_UP_RUNS = 5;

/**
 * Asks each system each query for a while, as long for each: what a server that has answered such queries for a while takes is another figure
 * than what one takes that was just started, whose code is compiled as it runs.
 */
export async function warmUp(
  systems: readonly System[],
  queries: readonly LoadQuery[],
  window: QueryWindow,
  secondsEach: number,
): Promise<void> {
  for (const system of systems)
    for (const query of queries) {
      const untilMs = performance.now() + secondsEach * 1000;
      while (performance.now() < untilMs) await ask(system, query, window);
    }
}

/** Asks every system `runs` times, taking turns. */
export async function compareQuery(
  systems: readonly System[],
  query: LoadQuery,
  window: QueryWindow,
  runs: number,
): Promise<QueryFigures[]> {
  const taken = systems.map(() => ({ latencies: [] as number[], cpus: [] as number[], series: 0 }));
  for (let run = -WARM_UP_RUNS; run < runs; run++) {
    for (const [i, system] of systems.entries()) {
      const cpuBefore = cpuMsOf(system.pid);
      const startMs = performance.now();
      const text = await ask(system, query, window);
      const latencyMs = performance.now() - startMs;
      const own = taken[i]!;
      own.series = text.split('"metric"').length - 1;
      if (run < 0) continue;
      own.latencies.push(latencyMs);
      own.cpus.push(cpuMsOf(system.pid) - cpuBefore);
    }
  }
  return taken.map(({ latencies, cpus, series }) => ({
    latencyMs: median(latencies),
    cpuMs: median(cpus),
    series,
  }));
}

/** Samples that selectors have in the window, as `system` counts them. */
export async function countSamples(
  system: System,
  selectors: readonly string[],
  window: QueryWindow,
): Promise<number> {
  let samples = 0;
  for (const selector of selectors) {
    const expression = `sum(count_over_time(${selector}[${window.spanSeconds}s]))`;
    const text = await ask(system, { name: 'count', expression, stepSeconds: 0 }, window);
    const { data } = JSON.parse(text) as {
      data: { result: readonly { value: readonly [number, string] }[] };
    };
    samples += Number(data.result[0]?.value[1] ?? 0);
  }
  return samples;
}

/** Asks past caches of results, and answers the body. @throws Error when it is not one of a success. */
export async function ask(system: System, query: LoadQuery, window: QueryWindow): Promise<string> {
  const { endSeconds, spanSeconds } = window;
  const isRange = query.stepSeconds > 0;
  const url = new URL(`/api/v1/${isRange ? 'query_range' : 'query'}`, system.url);
  const times = isRange
    ? { start: endSeconds - spanSeconds, end: endSeconds, step: query.stepSeconds }
    : { time: endSeconds };
  // Nobody answers from a cache of results.
  for (const [name, value] of Object.entries({ query: query.expression, ...times, nocache: 1 })) {
    url.searchParams.set(name, String(value));
  }
  const response = await fetch(url);
  const text = await response.text();
  if (response.ok) return text;
  throw new Error(`${system.name}: ${query.name}: ${response.status} ${text.slice(0, 200)}`);
}

/** CPU that the threads of a process have used, milliseconds; in hundredths of a second where the kernel keeps no more. */
function cpuMsOf(pid: number): number {
  try {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
    }
    return nanoseconds / 1e6;
  } catch {
    return usageOf([pid]).cpuSeconds * 1000;
  }
}

/** The middle one, the upper of two; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** A line of the table: each system's figures, and how often the first is as fast as the others. */
export function describeFigures(
  name: string,
  systems: readonly System[],
  figures: readonly QueryFigures[],
  samples?: number,
): string {
  const cells = systems.map((system, i) => {
    const { latencyMs, cpuMs, series } = figures[i]!;
    const perSample =
      samples === undefined ? '' : ` ${((cpuMs * 1e6) / samples).toFixed(1).padStart(6)} ns/sample`;
    return `${system.name} ${latencyMs.toFixed(1).padStart(7)} ms cpu ${cpuMs.toFixed(1).padStart(7)} ms${perSample} (${series})`;
  });
  const own = figures[0]!;
  const ratios = systems.slice(1).map((system, i) => {
    const other = figures[i + 1]!;
    return `${system.name} ${(other.latencyMs / own.latencyMs).toFixed(2)}× cpu ${(other.cpuMs / own.cpuMs).toFixed(2)}×`;
  });
  return [name.padEnd(20), ...cells, ...(ratios.length > 0 ? [`took: ${ratios.join(', ')}`] : [])].join(
    ' | ',
  );
}
