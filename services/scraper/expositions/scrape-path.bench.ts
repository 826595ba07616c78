// Nanoseconds per sample from the bytes of an exposition to columns ready to be written, on a real node-exporter scrape:
// everything known (the usual scrape), the same in another order, and everything new. CPU time, so that neighbours on the machine
// disturb less. Run:
// node services/scraper/expositions/scrape-path.bench.ts
import { readFileSync } from 'node:fs';
import { bench, do_not_optimize, run } from 'mitata';
import { hasShared, sharedPath } from '../../../test/support/shared.ts';
import type { Appender } from '../../lib/distributor/appender.ts';
import { parseText } from '../../lib/exposition/text-parser.ts';
import { Labels } from '../../lib/model/labels.ts';
import { StartTimeMemory } from '../../lib/model/start-time-memory.ts';
import { WriteBatch } from '../write-batch.ts';
import { ExpositionAppender } from './exposition-appender.ts';
import { FamilyMetadata, MetadataLines } from './family-metadata.ts';
import { SeriesCache } from './series-cache.ts';
import { SharedTexts } from './shared-texts.ts';

const rules = {
  targetLabels: Labels.from([
    ['instance', 'localhost:9100'],
    ['job', 'node'],
  ]),
  honorLabels: false,
  honorTimestamps: true,
  trackTimestampsStaleness: false,
  sampleLimit: 0,
  histogramLimits: { bucketLimit: 0, schemaMax: 8 },
  relabel: (labels: Labels) => labels,
  limits: {
    labelLimit: 0,
    labelNameLengthLimit: 0,
    labelValueLengthLimit: 0,
    nameValidation: 'utf8' as const,
  },
};

function createAppender(): Appender {
  const references = new Map<string, number>();
  return {
    resolve: (labels) => {
      const known = references.get(labels.key);
      if (known !== undefined) return known;
      references.set(labels.key, references.size);
      return references.size - 1;
    },
    resolveBytes: () => 0,
    labelsOf: () => undefined,
    write: () => Promise.reject(new Error('not in this benchmark')),
  };
}

/** As in a scraper: all targets share their texts. */
const texts = new SharedTexts();

function createScrape(appender: Appender): (bytes: Uint8Array) => number {
  const cache = new SeriesCache(texts);
  const lines = new MetadataLines(new FamilyMetadata());
  const exposition = new ExpositionAppender(cache, lines, appender, rules, new StartTimeMemory());
  const batch = new WriteBatch(4096);
  let timeMs = 1_700_000_000_000;
  return (bytes) => {
    batch.reset();
    timeMs += 15_000;
    exposition.begin(batch, timeMs);
    parseText(bytes, bytes.length, exposition);
    cache.end(true, (reference) => batch.addStale(reference, timeMs));
    return batch.count;
  };
}

/** Scrapes per round: long enough for the clock of CPU time. */
const SCRAPES = 200;

if (hasShared('bench', 'captures', 'node-exporter-0s.txt')) {
  const first = readFileSync(sharedPath('bench', 'captures', 'node-exporter-0s.txt'));
  const later = readFileSync(sharedPath('bench', 'captures', 'node-exporter-15s.txt'));
  const lines = first
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const reversed = Buffer.from(`${lines.toReversed().join('\n')}\n`);
  const known = createScrape(createAppender());
  known(later);
  const shuffled = createScrape(createAppender());
  const samples = known(first);
  shuffled(first);

  const measure = (name: string, perform: () => number): void => {
    for (let i = 0; i < 200; i++) perform();
    const rounds: number[] = [];
    for (let round = 0; round < 7; round++) {
      const start = process.cpuUsage();
      for (let i = 0; i < SCRAPES; i++) perform();
      const { user, system } = process.cpuUsage(start);
      rounds.push(((user + system) * 1000) / (SCRAPES * samples));
    }
    rounds.sort((a, b) => a - b);
    console.log(
      `${name}: ${rounds[3]!.toFixed(1)} ns of CPU per sample (median of 7, ${rounds[0]!.toFixed(1)} … ${rounds[6]!.toFixed(1)})`,
    );
  };
  console.log(`${samples} samples, ${first.length} bytes a scrape`);
  measure('everything known', () => known(first));
  let flip = false;
  measure('everything known, the order changes each time', () => {
    flip = !flip;
    return shuffled(flip ? reversed : first);
  });
  const appender = createAppender();
  measure('everything new', () => createScrape(appender)(first));
  bench('everything known, one scrape', () => do_not_optimize(known(first)));
  await run();
}
