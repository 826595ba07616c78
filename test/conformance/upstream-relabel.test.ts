// Random relabelling beside a real Prometheus 3.14, by its own relabel_steps: jobs of a few random steps, asked with random labels; every
// step has to give the same labels, or drop the target where the other does.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { UTF8_NAMES } from '../../services/lib/relabel/relabel.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { relabelSteps } from '../../services/scraper/targets/relabel-steps.ts';
import { FUZZ_SEED } from '../support/byte-fuzz.ts';
import { UPSTREAM } from '../support/discovery-oracle.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { pick, type Random, randomOf } from '../support/random.ts';
import { freshFolder } from '../support/tidemark.ts';

const JOBS = Number(process.env.TIDEMARK_RELABEL_JOBS ?? 150);
const LABEL_SETS = 5;
const ACTIONS = [
  ...[
    'replace',
    'replace',
    'replace',
    'labelmap',
    'labelmap',
    'labelmap',
    'labeldrop',
    'labelkeep',
    'hashmod',
  ],
  ...['lowercase', 'uppercase', 'keep', 'drop', 'keepequal', 'dropequal'],
];
const NAMES = ['a', 'b', 'ab', 'aab', '__meta_x', '__meta_a', '__address__', 'job', 'été', 'with.dot'];
const VALUES = [
  '',
  'x',
  'Web-1',
  '10.0.0.1:80',
  'a;b',
  'ÉTÉß',
  '\u{1F600}',
  '$1',
  '\n',
  'İ',
  'K',
  'ᾀᾳᾈ',
  'ǆ',
  'ŉΣς',
];
const REGEXES = [
  ...[
    '(.*)',
    '.+',
    '(a|b)(.*)',
    'a*(.*)',
    '(.)(.*)',
    '([^:]+)(?::\\d+)?',
    '(?i)web.*',
    '__meta_(.+)',
    '',
    '^a',
    'b$',
  ],
  ...[
    '(?P<n>.)(?P<rest>.*)',
    '(a)|(b)',
    'x{2,3}|.*',
    '[[:alpha:]_]+',
    '\\pL+',
    '(?s).*',
    '(?U)(.*)(.*)',
    '\\w+',
    '\\bab?\\b.*',
  ],
];
const REPLACEMENT_NAMES = ['$\x7b1}', 'n_$1', '$\x7bn}'];
const REPLACEMENTS = [
  ...[
    '$1',
    '$\x7b1}',
    '$2',
    '$\x7b2}_$1',
    'a',
    'b',
    'ab',
    'x$1',
    '$\x7bn}',
    '$n',
    '$rest$n',
    '$$',
    '$',
    '$\x7b',
    '$\x7b1',
    '$1x',
    '$\x7b10}',
  ],
  ...['', '$0', 'été', 'a.b'],
];

function stepOf(random: Random): Record<string, unknown> {
  const action = pick(random, ACTIONS);
  const sources = Array.from({ length: 1 + Math.floor(random() * 2) }, () => pick(random, NAMES));
  const target = pick(random, ['a', 'c', 'ab', 'job']);
  const regex = pick(random, REGEXES);
  const replacement = pick(random, REPLACEMENTS);
  switch (action) {
    case 'labelmap':
      return { action, regex, replacement };
    case 'labeldrop':
    case 'labelkeep':
      return { action, regex };
    case 'keepequal':
    case 'dropequal':
      return { action, source_labels: sources, target_label: target };
    case 'hashmod':
      return {
        action,
        source_labels: sources,
        target_label: target,
        modulus: pick(random, [1, 2, 8, 4294967296]),
      };
    case 'lowercase':
    case 'uppercase':
      return { action, source_labels: sources, target_label: target };
    case 'replace':
      return {
        ...{ action, source_labels: sources, separator: pick(random, [';', '', '-']), regex },
        ...{ target_label: random() < 0.3 ? pick(random, REPLACEMENT_NAMES) : target, replacement },
      };
    default:
      // Most targets stay.
      return { action, source_labels: sources, regex: action === 'keep' ? '.*' : 'never' };
  }
}

/**
 * Whether relabel_steps of Prometheus does what its scrapes do: it sorts labels that steps have set by name after each step, where a scrape
 * leaves them in the order of their setting. A labelmap shows the difference when there are several of them.
 */
function isAsInScrapes(steps: readonly Record<string, unknown>[]): boolean {
  const last = steps.findLastIndex(({ action }) => action === 'labelmap');
  const before = steps.slice(0, Math.max(0, last)).map(({ action }) => String(action));
  const setters = before.filter((action) => /^(?:replace|hashmod|lowercase|uppercase)$/.test(action));
  return !before.includes('labelmap') && setters.length < 2;
}

/** A job that our reader takes; what it refuses is tests' of the reader. */
function jobOf(random: Random, name: string): string {
  for (;;) {
    const steps = Array.from({ length: 1 + Math.floor(random() * 4) }, () => stepOf(random));
    if (!isAsInScrapes(steps)) continue;
    const job = `{job_name: ${name}, static_configs: [{targets: []}], relabel_configs: ${JSON.stringify(steps)}}`;
    try {
      loadConfig(`scrape_configs: [${job}]`, '/');
      return job;
    } catch {
      // Another one.
    }
  }
}

function labelsOf(random: Random): Record<string, string> {
  const chosen = NAMES.filter(() => random() < 0.6);
  // Prometheus' labels cannot be empty.
  return Object.fromEntries(
    chosen.map((name) => [name, pick(random, VALUES)]).filter(([, value]) => value !== ''),
  );
}

async function startUpstream(config: string): Promise<string> {
  const folder = freshFolder();
  const file = path.join(folder, 'prometheus.yml');
  writeFileSync(file, config);
  const address = `127.0.0.1:${await freePort()}`;
  const flags = [
    `--config.file=${file}`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=${address}`,
  ];
  const running = startProcess(findProgram(UPSTREAM)!, [
    ...flags,
    '--scrape.discovery-reload-interval=100ms',
  ]);
  await waitFor(
    'the jobs',
    () => answers(`http://${address}/api/v1/targets/relabel_steps?scrapePool=job0&labels={}`),
    {
      timeoutMs: 60_000,
      describe: running.output,
    },
  );
  return `http://${address}`;
}

test.skipIf(!hasPrograms(UPSTREAM))(
  'random relabelling gives what Prometheus 3.14 gives',
  { timeout: 120_000 },
  async () => {
    const random = randomOf(FUZZ_SEED);
    const jobs = Array.from({ length: JOBS }, (_, i) => jobOf(random, `job${i}`));
    const config = `scrape_configs:\n${jobs.map((job) => `  - ${job}\n`).join('')}`;
    const upstream = await startUpstream(config);
    const ours = loadConfig(config, '/').scrapeConfigs;
    const differences: string[] = [];
    for (const [i, job] of jobs.entries()) {
      for (let set = 0; set < LABEL_SETS; set++) {
        const labels = labelsOf(random);
        const query = new URLSearchParams({ scrapePool: `job${i}`, labels: JSON.stringify(labels) });
        const response = await fetch(`${upstream}/api/v1/targets/relabel_steps?${query.toString()}`);
        const { data } = (await response.json()) as { data: { steps: { output: object; keep: boolean }[] } };
        const all = data.steps.map(({ output, keep }) => ({ output: { ...output }, keep }));
        // A label without a name comes from its labelmap only, and makes every scrape of the target fail: we leave it out.
        const nameless = all.findIndex(({ output }) => '' in output);
        const theirs = nameless < 0 ? all : all.slice(0, nameless);
        const made = relabelSteps(ours[i]!.relabelConfigs, UTF8_NAMES, labels);
        const own = made.steps
          .slice(0, theirs.length)
          .map(({ output, keep }) => ({ output: { ...output }, keep }));
        try {
          expect(own).toEqual(theirs);
        } catch {
          differences.push(
            `${job}\n${JSON.stringify(labels)}\nours   ${JSON.stringify(own)}\ntheirs ${JSON.stringify(theirs)}`,
          );
        }
      }
    }
    expect(
      differences.slice(0, 5).join('\n\n'),
      `TIDEMARK_FUZZ_SEED=${FUZZ_SEED}: ${differences.length}`,
    ).toBe('');
  },
);
