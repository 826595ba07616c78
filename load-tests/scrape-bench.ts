// Scraping beside Debian's prometheus and victoria-metrics: the same targets, samples per CPU-second of the server, its memory, and how
// far scrapes are from their time, as the targets see it.
import { setTimeout as sleep } from 'node:timers/promises';
import { readFlags } from './command-line.ts';
import { type ProcessUsage, usageOf } from './process-usage.ts';
import { type Exporters, startExporters } from './scrape-exporters.ts';
import { availableSystems, type System, type SystemName, startSystem } from './systems.ts';

const USAGE = `Tidemark, Debian's prometheus and victoria-metrics scraping the same simulated exporters.

usage: node load-tests/scrape-bench.ts [flags]

  --targets N        exporters                                              400
  --series N         of each                                                500
  --interval S       seconds between two scrapes of one                     5
  --warm-up S        seconds that are not measured                          20
  --seconds S        seconds that are                                       40
  --systems A,B      which of ${availableSystems().join(', ')}
  --before FOLDER    another checkout of Tidemark beside them, as 'before'
  --together         all at one time: what else the machine does is the same for all
  --plain            exporters do not compress
  --base-port N      exporters take ports from here on                      24000
  --profile-dir DIR  CPU profiles of Tidemark

A million series are --targets 2000 --interval 15 --warm-up 45 --seconds 60.
`;

const values = readFlags(USAGE, {
  targets: { type: 'string', default: '400' },
  series: { type: 'string', default: '500' },
  interval: { type: 'string', default: '5' },
  'warm-up': { type: 'string', default: '20' },
  seconds: { type: 'string', default: '40' },
  systems: { type: 'string', default: availableSystems().join(',') },
  before: { type: 'string' },
  together: { type: 'boolean', default: false },
  plain: { type: 'boolean', default: false },
  'base-port': { type: 'string', default: '24000' },
  'profile-dir': { type: 'string' },
});

interface Figures {
  readonly system: string;
  readonly samplesPerSecond: number;
  /** Samples a second that the targets are configured to give. */
  readonly expected: number;
  readonly cpuCores: number;
  readonly samplesPerCpuSecond: number;
  readonly residentMiB: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly within5Ms: number;
}

/** The name of a system's figures → what is started. */
function wanted(): Map<string, SystemName> {
  const systems = new Map<string, SystemName>();
  for (const name of values.systems.split(',')) systems.set(name, name as SystemName);
  if (values.before !== undefined) systems.set('before', 'tidemark');
  return systems;
}

async function start(label: string, name: SystemName, exporters: Exporters): Promise<System> {
  const targets = exporters.addresses.map((address) => `'${address}'`).join(', ');
  const config = `global: { scrape_interval: ${values.interval}s, scrape_timeout: ${values.interval}s }
scrape_configs:
  - job_name: node
    params: { system: [${label}] }
    static_configs: [{ targets: [${targets}] }]
`;
  const profile = values['profile-dir'];
  const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const tree = label === 'before' ? values.before : undefined;
  return startSystem(name, { config, nodeFlags, ...(tree === undefined ? {} : { tree }) });
}

/** All of them at one time. */
async function measure(names: ReadonlyMap<string, SystemName>, exporters: Exporters): Promise<Figures[]> {
  const systems = new Map<string, System>();
  try {
    for (const [label, name] of names) systems.set(label, await start(label, name, exporters));
    await sleep(Number(values['warm-up']) * 1000);
    exporters.reset();
    const usage = (): Map<string, ProcessUsage> =>
      new Map([...systems].map(([label, { pid }]) => [label, usageOf([pid])]));
    const before = usage();
    const startedMs = performance.now();
    await sleep(Number(values.seconds) * 1000);
    const after = usage();
    const seconds = (performance.now() - startedMs) / 1000;
    return [...systems.keys()].map((label) =>
      figuresOf(label, before.get(label)!, after.get(label)!, seconds, exporters),
    );
  } finally {
    const signal = values['profile-dir'] === undefined ? 'SIGKILL' : 'SIGTERM';
    await Promise.all([...systems.values()].map((system) => system.stop(signal)));
  }
}

function figuresOf(
  label: string,
  before: ProcessUsage,
  after: ProcessUsage,
  seconds: number,
  exporters: Exporters,
): Figures {
  const intervalSeconds = Number(values.interval);
  const series = Number(values.series);
  const samples = exporters.scrapes(label) * series;
  const cpuSeconds = after.cpuSeconds - before.cpuSeconds;
  const { p50, p99, p999, within5 } = exporters.punctuality(label, intervalSeconds * 1000);
  return {
    system: label,
    samplesPerSecond: Math.round(samples / seconds),
    expected: Math.round((exporters.addresses.length * series) / intervalSeconds),
    cpuCores: round(cpuSeconds / seconds, 3),
    samplesPerCpuSecond: Math.round(samples / cpuSeconds),
    residentMiB: Math.round(after.residentBytes / 2 ** 20),
    p50Ms: round(p50, 2),
    p99Ms: round(p99, 2),
    p999Ms: round(p999, 2),
    within5Ms: round(within5, 5),
  };
}

async function report(names: ReadonlyMap<string, SystemName>, exporters: Exporters): Promise<void> {
  for (const figures of await measure(names, exporters)) console.log(JSON.stringify(figures));
  const { p999, within5 } = exporters.ownLateness();
  const machine = { targetsOwnTimer: { p999Ms: round(p999, 2), within5Ms: round(within5, 5) } };
  console.log(JSON.stringify(machine));
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

const exporters = await startExporters({
  targets: Number(values.targets),
  series: Number(values.series),
  compressed: !values.plain,
  basePort: Number(values['base-port']),
});
try {
  console.log(
    `${values.targets} targets × ${values.series} series every ${values.interval} s, ${exporters.bodyBytes} bytes an exposition${values.plain ? '' : ', gzip'}`,
  );
  if (values.together) await report(wanted(), exporters);
  else for (const [label, name] of wanted()) await report(new Map([[label, name]]), exporters);
} finally {
  await exporters.close();
}
