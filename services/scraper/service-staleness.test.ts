// When series end and when they go on: scrapes that lack them, targets and jobs that go, reloads.
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../test/support/programs.ts';
import { startScrapeTarget } from '../../test/support/scrape-target.ts';
import { expectOnGrid, INTERVAL_MS, jobOf, labelled, scraperRigs } from '../../test/support/scraper-rig.ts';

const createRig = scraperRigs();

describe('staleness', () => {
  test('a series that is gone ends with the marker’s exact bits', async () => {
    const target = await startScrapeTarget('a 1\nb 2\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('b', target.address));
    target.answer = { body: 'a 1\n' };
    const marker = await waitFor('the marker', async () => {
      const last = rig.last(labelled('b', target.address))!;
      return last.stale && last;
    });
    expect([marker.high, marker.low]).toEqual([0x7ff00000, 2]);
    const ends = rig.distributor.series(labelled('b', target.address)).length;
    await rig.next(labelled('up', target.address));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.series(labelled('b', target.address)).length).toBe(ends);
    expect(rig.last(labelled('a', target.address))!.stale).toBe(false);
    target.answer = { body: 'a 1\nb 3\n' };
    expect((await rig.next(labelled('b', target.address))).value).toBe(3);
  });

  test('a failed scrape ends all series at its time, and up says 0', async () => {
    const target = await startScrapeTarget('a 1\nb 2\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('b', target.address));
    target.answer = { status: 500, body: '' };
    const down = await waitFor('up 0', async () => {
      const last = rig.last(labelled('up', target.address))!;
      return last.value === 0 && last;
    });
    for (const name of ['a', 'b']) {
      expect(rig.last(labelled(name, target.address))).toMatchObject({
        stale: true,
        timestampMs: down.timestampMs,
      });
    }
    expect((await rig.active()).lastError).toBe('server returned HTTP status 500 Internal Server Error');
  });

  test('samples with their own time end only where that is asked for', async () => {
    const target = await startScrapeTarget('a 1 1000\n');
    const rig = await createRig();
    await rig.apply(
      jobOf(target.address),
      jobOf(target.address, 'track_timestamps_staleness: true').replace('a,', 'b,'),
    );
    const tracked = labelled('a', target.address).replace('"a"', '"b"');
    await rig.next(tracked);
    await rig.next(labelled('a', target.address));
    target.answer = { body: '' };
    await waitFor('the marker', async () => rig.last(tracked)!.stale);
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.series(labelled('a', target.address)).every((each) => !each.stale)).toBe(true);
  });

  test('a target that is removed ends, report series included; one that stays does not', async () => {
    const gone = await startScrapeTarget('a 1\n');
    const stays = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(`{job_name: a, static_configs: [{targets: ["${gone.address}", "${stays.address}"]}]}`);
    await rig.next(labelled('a', gone.address));
    await rig.next(labelled('a', stays.address));
    await rig.apply(jobOf(stays.address));
    for (const name of ['a', 'up', 'scrape_duration_seconds']) {
      await waitFor(`${name} ends`, async () => rig.last(labelled(name, gone.address))!.stale);
    }
    const [marker, before] = rig.distributor.series(labelled('a', gone.address)).toReversed();
    expect(marker!.timestampMs - before!.timestampMs).toBe(INTERVAL_MS);
    await rig.next(labelled('up', stays.address));
    expect(rig.distributor.series(labelled('a', stays.address)).every((each) => !each.stale)).toBe(true);
    expect((await rig.targets()).active).toHaveLength(1);
  });

  test('a job that is removed ends', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    await rig.apply();
    await waitFor('the end', async () => rig.last(labelled('a', target.address))!.stale);
    expect((await rig.targets()).active).toEqual([]);
  });

  test('a process that stops ends nothing: the next one goes on', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    await rig.scraper.drain();
    await rig.scraper.stop();
    expect(rig.distributor.series(labelled('a', target.address)).every((each) => !each.stale)).toBe(true);
    expect(rig.scraper.isReady()).toBe(false);
  });
});

describe('reload', () => {
  test('the same configuration, another job: loops and caches stay', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    await rig.apply(jobOf(target.address), '{job_name: b, static_configs: [{targets: ["127.0.0.1:1"]}]}');
    const { resolved } = rig.distributor;
    await rig.next(labelled('a', target.address));
    await rig.next(labelled('a', target.address));
    const own = resolved + 5;
    expect(rig.distributor.resolved).toBeLessThanOrEqual(own);
    const times = rig.distributor.series(labelled('up', target.address)).map((each) => each.timestampMs);
    expectOnGrid(times);
    expect(target.requests.every((each) => each.socket === target.requests[0]!.socket)).toBe(true);
  });

  test('other rules: series of before that are gone end, the others go on without a marker', async () => {
    const target = await startScrapeTarget('a 1\nb 1\n');
    const rig = await createRig();
    // A scrape that takes longer than its interval ends all series: on a busy machine a tenth of a second is too short.
    await rig.apply(jobOf(target.address, 'scrape_interval: 1s'));
    await rig.next(labelled('b', target.address));
    await rig.apply(
      jobOf(
        target.address,
        'scrape_interval: 1s, metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]',
      ),
    );
    await waitFor('the end of b', async () => rig.last(labelled('b', target.address))!.stale);
    await rig.next(labelled('a', target.address));
    expect(rig.distributor.series(labelled('a', target.address)).every((each) => !each.stale)).toBe(true);
  });

  test('a target that leaves and comes back before its next scrape has no gap and no marker', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    const job = jobOf(target.address, 'scrape_interval: 1s');
    await rig.apply(job);
    await rig.next(labelled('a', target.address));
    await rig.apply('{job_name: a, scrape_interval: 1s}');
    expect((await rig.targets()).active).toEqual([]);
    await rig.apply(job);
    await rig.next(labelled('a', target.address));
    await rig.next(labelled('a', target.address));
    const samples = rig.distributor.series(labelled('a', target.address));
    expect(samples.every((each) => !each.stale)).toBe(true);
    expect(samples.map((each) => each.timestampMs - samples[0]!.timestampMs)).toEqual([0, 1000, 2000]);
  });
});
