// What the scraper says of its targets: the calls Targets and TargetMetadata.
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../test/support/programs.ts';
import { startScrapeTarget } from '../../test/support/scrape-target.ts';
import { jobOf, labelled, scraperRigs } from '../../test/support/scraper-rig.ts';
import { TargetState } from '../lib/wire/contracts.ts';
import { toWireMatchers } from '../lib/wire/matchers.ts';

const createRig = scraperRigs();

describe('the Targets call', () => {
  test('active and dropped, by state and pool', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig({ externalHost: 'host.example' });
    await rig.apply(
      `{job_name: a, static_configs: [{targets: ["${target.address}", "drop:1", "drop:2"], labels: {env: x, __meta_secret: m}}], keep_dropped_targets: 1, ` +
        'relabel_configs: [{source_labels: [__address__], regex: "drop.*", action: drop}, {source_labels: [__meta_secret], target_label: kept}, {target_label: __tmp, replacement: t}]}',
      '{job_name: b, static_configs: [{targets: ["a/b"]}], relabel_configs: [{target_label: x, replacement: y}]}',
    );
    await waitFor('the first scrape', async () => (await rig.active()).health === 'up');
    const all = await rig.targets();
    expect(all.active).toHaveLength(1);
    expect(all.active[0]).toMatchObject({
      labels: { env: 'x', kept: 'm', job: 'a', instance: target.address },
      discoveredLabels: {
        __address__: target.address,
        __meta_secret: 'm',
        __scheme__: 'http',
        env: 'x',
        job: 'a',
      },
      scrapePool: 'a',
      scrapeUrl: `http://${target.address}/metrics`,
      globalUrl: `http://host.example:${target.address.split(':')[1]}/metrics`,
      scrapeInterval: '100ms',
      scrapeTimeout: '100ms',
      lastSamplesScraped: 1,
      lastError: '',
    });
    expect(Object.keys(all.active[0]!.labels)).not.toContain('__tmp');
    expect(all.dropped).toHaveLength(1);
    expect(all.dropped[0]!.discoveredLabels.__address__).toBe('drop:1');
    expect(all.droppedCounts).toEqual({ a: 2, b: 0 });
    expect((await rig.targets(TargetState.TARGET_STATE_DROPPED)).active).toEqual([]);
    expect((await rig.targets(TargetState.TARGET_STATE_ACTIVE)).dropped).toEqual([]);
    expect((await rig.targets(TargetState.TARGET_STATE_ANY, 'b')).active).toEqual([]);
  });
});

test('metadata of targets, by their labels and by metric', async () => {
  const target = await startScrapeTarget('# TYPE a counter\n# HELP a As.\na 1\n# TYPE b untyped\nb 1\nc 1\n');
  const rig = await createRig();
  await rig.apply(jobOf(target.address));
  // A scrape that finds new series reads its metadata the next time.
  for (let i = 0; i < 2; i++) await rig.next(labelled('a', target.address));
  const context = { signal: new AbortController().signal };
  const ask = async (metric: string, job: string, limit = 0) => {
    const matchers = toWireMatchers([{ name: 'job', operator: '=', value: job }]);
    const { families, targets } = await rig.scraper.handlers.targetMetadata(
      { matchers, metric, limit },
      context,
    );
    return targets.flatMap((each) => each.families.map((position) => families[position]));
  };
  const a = { metric: 'a', type: 'counter', help: 'As.', unit: '' };
  const b = { metric: 'b', type: 'unknown', help: '', unit: '' };
  expect(await ask('', 'a')).toEqual([a, b]);
  expect(await ask('b', 'a')).toEqual([b]);
  expect(await ask('', 'a', 1)).toEqual([a]);
  expect(await ask('', 'other')).toEqual([]);
});
