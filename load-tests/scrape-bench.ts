// Scraping beside Debian's prometheus and victoria-metrics: the same targets one system after another, samples per CPU-second of the
// server, its memory, and how far scrapes are from their time, as the targets see it.
//
//   node load-tests/scrape-bench.ts [--targets 400] [--series 500] [--interval 5] [--warm-up 20] [--seconds 40]
//     [--systems tidemark,prometheus,victoria-metrics] [--plain] [--base-port 24000] [--profile-dir DIR]
//
// The issue's own size is --targets 2000 --interval 15 --warm-up 45 --seconds 60.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { usageOf } from './process-usage.ts';
import { type Exporters, startExporters } from './scrape-exporters.ts';
import { availableSystems, type SystemName, startSystem } from './systems.ts';

const { values } = parseArgs({
  options: {
    targets: { type: 'string', default: '400' },
    series: { type: 'string', default: '500' },
    interval: { type: 'string', default: '5' },
    'warm-up': { type: 'string', default: '20' },
    seconds: { type: 'string', default: '40' },
    systems: { type: 'string', default: availableSystems().join(',') },
    plain: { type: 'boolean', default: false },
    'base-port': { type: 'string', default: '24000' },
    'profile-dir': { type: 'string' },
  },
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

async function measure(name: SystemName, exporters: Exporters): Promise<Figures> {
  const intervalSeconds = Number(values.interval);
  const series = Number(values.series);
  const targets = exporters.addresses.map((address) => `'${address}'`).join(', ');
  const config = `global: { scrape_interval: ${intervalSeconds}s, scrape_timeout: ${intervalSeconds}s }
scrape_configs:
  - job_name: node
    static_configs: [{ targets: [${targets}] }]
`;
  const profile = values['profile-dir'];
  const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const system = await startSystem(name, { config, nodeFlags });
  try {
    await sleep(Number(values['warm-up']) * 1000);
    exporters.reset();
    const before = usageOf([system.pid]);
    const startedMs = performance.now();
    await sleep(Number(values.seconds) * 1000);
    const after = usageOf([system.pid]);
    const seconds = (performance.now() - startedMs) / 1000;
    const samples = exporters.scrapes() * series;
    const cpuSeconds = after.cpuSeconds - before.cpuSeconds;
    const { p50, p99, p999, within5 } = exporters.punctuality(intervalSeconds * 1000);
    return {
      system: name,
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
  } finally {
    await system.stop(profile === undefined ? 'SIGKILL' : 'SIGTERM');
  }
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
  for (const name of values.systems.split(','))
    console.log(JSON.stringify(await measure(name as SystemName, exporters)));
} finally {
  await exporters.close();
}
