// Between scrapes and the distributor: outages, restarts, references that were forgotten, refusals.
import { cpSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../test/support/programs.ts';
import { startScrapeTarget } from '../../test/support/scrape-target.ts';
import { expectOnGrid, jobOf, labelled, scraperRigs } from '../../test/support/scraper-rig.ts';
import { AppError } from '../lib/core/errors.ts';

const createRig = scraperRigs();

describe('the distributor', () => {
  test('does not take samples for a while: none is lost, loops go on', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    const requests = target.requests.length;
    await waitFor('scrapes to go on', async () => target.requests.length > requests + 3);
    const scraped = target.requests.length - 1;
    rig.distributor.failure = undefined;
    await waitFor(
      'all of them',
      async () => rig.distributor.series(labelled('a', target.address)).length >= scraped,
    );
    expectOnGrid(rig.distributor.series(labelled('a', target.address)).map((each) => each.timestampMs));
  });

  test('takes none for too long: the oldest are given up, and counted', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig({ spoolSamplesMax: 15 });
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    await rig.apply(jobOf(target.address));
    const dropped = async (): Promise<number> => {
      const metric = await rig.registry.getSingleMetric('tidemark_scraper_samples_dropped_total')!.get();
      return metric.values
        .filter((each) => each.labels.reason === 'spool_full')
        .reduce((sum, each) => sum + each.value, 0);
    };
    await waitFor('samples given up', async () => (await dropped()) >= 12);
    const spooled = await rig.registry.getSingleMetric('tidemark_scraper_spooled_samples')!.get();
    expect(spooled.values[0]!.value).toBeLessThanOrEqual(15);
  });

  test('takes none over a restart: what was scraped waits on disk and is written', async () => {
    const target = await startScrapeTarget('a 1\n');
    const spoolFolder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
    const first = await createRig({ spoolFolder });
    first.distributor.failure = new AppError('unavailable', 'no quorum');
    await first.apply(jobOf(target.address));
    await waitFor('samples on disk', async () => readdirSync(spoolFolder).length > 1);
    // A process that is killed leaves its files as they are now; those that it writes later must not be there.
    const spooled = path.join(mkdtempSync(path.join(tmpdir(), 'tidemark-test-')), 'spool');
    // A spool file never changes; others may vanish while they are copied.
    const isWhole = (from: string) => from === spoolFolder || from.endsWith('.spool');
    cpSync(spoolFolder, spooled, { recursive: true, filter: isWhole });
    const files = readdirSync(spooled).filter((name) => name.endsWith('.spool'));
    const samples = files.reduce((sum, name) => sum + Number(name.slice(13, -'.spool'.length)), 0);
    const second = await createRig({ spoolFolder: spooled });
    await waitFor('the spool to be sent', async () => readdirSync(spooled).length === 0);
    const written = second.distributor.names().flatMap((name) => second.distributor.series(name));
    expect(written.length).toBe(samples);
    expectOnGrid(second.distributor.series(labelled('up', target.address)).map((each) => each.timestampMs));
  });

  test('takes none until the end: what waits is on disk when the scraper has stopped', async () => {
    const target = await startScrapeTarget('a 1\n');
    const spoolFolder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
    const rig = await createRig({ spoolFolder });
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    const before = target.requests.length;
    await waitFor('scrapes to go on', async () => target.requests.length > before + 2);
    await rig.scraper.drain();
    await rig.scraper.stop();
    const scraped = target.requests.length;
    const second = await createRig({ spoolFolder });
    await waitFor('the spool to be sent', async () => readdirSync(spoolFolder).length === 0);
    const times = [...rig.distributor.series(labelled('up', target.address))]
      .concat(second.distributor.series(labelled('up', target.address)))
      .map((each) => each.timestampMs);
    // The scrape that was under way at the end brought nothing.
    expect(times.length).toBeGreaterThanOrEqual(scraped - 1);
    expectOnGrid(times);
  });

  test('forgets references: the series are resolved again and nothing is lost', async () => {
    const target = await startScrapeTarget('# TYPE h histogram\nh_bucket{le="1"} 1\na 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    rig.distributor.forgetReferences();
    for (let i = 0; i < 3; i++) await rig.next(labelled('a', target.address));
    const scraped = rig.distributor.series(labelled('up', target.address)).length;
    expect(scraped).toBeGreaterThanOrEqual(target.requests.length - 2);
    for (const name of [
      labelled('a', target.address),
      labelled('h_bucket', target.address, 'le="1.0"'),
      labelled('up', target.address),
    ]) {
      const times = rig.distributor.series(name).map((each) => each.timestampMs);
      expect(times.length).toBeGreaterThanOrEqual(scraped);
      expectOnGrid(times);
    }
    expect(rig.distributor.names().some((name) => name.includes('le="1"'))).toBe(false);
  });

  test('forgets references while samples wait: all of them are resolved again', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig({ writesInFlightMax: 1 });
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    const requests = target.requests.length;
    await waitFor('scrapes to go on', async () => target.requests.length > requests + 3);
    rig.distributor.forgetReferences();
    const scraped = target.requests.length - 1;
    rig.distributor.failure = undefined;
    await waitFor(
      'all of them',
      async () => rig.distributor.series(labelled('a', target.address)).length >= scraped,
    );
    expectOnGrid(rig.distributor.series(labelled('a', target.address)).map((each) => each.timestampMs));
    expect(rig.distributor.series(labelled('up', target.address)).length).toBeGreaterThanOrEqual(scraped);
  });

  test('takes scrapes of a moment in one write, each by itself where one of them is refused', async () => {
    const targets = await Promise.all([1, 2, 3].map(() => startScrapeTarget('a 1\n')));
    const rig = await createRig({ writeGatherMs: 50 });
    const addresses = targets.map(({ address }) => `"${address}"`).join(', ');
    await rig.apply(`{job_name: a, static_configs: [{targets: [${addresses}]}]}`);
    const series = targets.map(({ address }) => labelled('a', address));
    const written = (): number => series.reduce((sum, name) => sum + rig.distributor.series(name).length, 0);
    await waitFor('thirty scrapes', async () => written() >= 30);
    expect(rig.distributor.writes).toBeLessThan(written() * 0.75);
    // References of a part are forgotten: all are written in the end, and none twice.
    rig.distributor.forgetReferences();
    const before = written();
    await waitFor('thirty more', async () => written() >= before + 30);
    for (const name of series) expectOnGrid(rig.distributor.series(name).map((each) => each.timestampMs));
  });

  test('refuses a series: the others are written, the refused are counted', async () => {
    const target = await startScrapeTarget('a 1\nb 1\n');
    const rig = await createRig();
    rig.distributor.refuse = (labels) =>
      labels.get('__name__') === 'b' ? new AppError('bad_data', 'too long') : undefined;
    await rig.apply(jobOf(target.address));
    expect((await rig.next(labelled('a', target.address))).value).toBe(1);
    expect((await rig.next(labelled('up', target.address))).value).toBe(1);
    const metric = await rig.registry.getSingleMetric('tidemark_scraper_samples_dropped_total')!.get();
    expect(metric.values.find((each) => each.labels.reason === 'series_refused')!.value).toBeGreaterThan(0);
  });
});
