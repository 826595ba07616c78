// The scraper against real HTTP servers: what a target that works gives, and its labels.
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { startScrapeTarget } from '../../test/support/scrape-target.ts';
import { INTERVAL_MS, jobOf, labelled, scraperRigs } from '../../test/support/scraper-rig.ts';

const createRig = scraperRigs();

describe('a target that works', () => {
  test('its samples and the report series, at the times of its grid', async () => {
    const target = await startScrapeTarget('x{y="z"} 1\nw 2 1234\nn NaN\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    const up = await rig.next(labelled('up', target.address));
    expect(up.value).toBe(1);
    const sample = rig.distributor.series(labelled('x', target.address, 'y="z"'))[0]!;
    expect(sample).toMatchObject({ timestampMs: up.timestampMs, value: 1 });
    expect(rig.distributor.series(labelled('w', target.address))[0]).toMatchObject({
      timestampMs: 1234,
      value: 2,
    });
    // Prometheus stores NaN as 0x7ff8000000000001.
    expect(rig.distributor.series(labelled('n', target.address))[0]).toMatchObject({
      high: 0x7ff80000,
      low: 1,
      stale: false,
    });
    expect(rig.distributor.series(labelled('scrape_samples_scraped', target.address))[0]!.value).toBe(3);
    expect(
      rig.distributor.series(labelled('scrape_samples_post_metric_relabeling', target.address))[0]!.value,
    ).toBe(3);
    expect(rig.distributor.series(labelled('scrape_series_added', target.address))[0]!.value).toBe(3);
    expect(
      rig.distributor.series(labelled('scrape_duration_seconds', target.address))[0]!.value,
    ).toBeLessThan(1);
    const second = await rig.next(labelled('up', target.address));
    const steps = (second.timestampMs - up.timestampMs) / INTERVAL_MS;
    expect(Number.isInteger(steps)).toBe(true);
    expect(rig.last(labelled('scrape_series_added', target.address))!.value).toBe(0);
  });

  test('a repeated series is resolved once', async () => {
    const target = await startScrapeTarget('a 1\nb{x="1"} 1\nb{x="2"} 2\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    const { resolved } = rig.distributor;
    for (let i = 0; i < 3; i++) await rig.next(labelled('up', target.address));
    expect(resolved).toBe(3 + 5);
    expect(rig.distributor.resolved).toBe(resolved);
  });

  test('the request says what Prometheus says', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address, 'params: {match: [x, y], "q": ["a b"]}, metrics_path: /m'));
    await rig.next(labelled('up', target.address));
    const { url, headers } = target.requests[0]!;
    expect(url).toBe('/m?match=x&match=y&q=a+b');
    expect(headers).toMatchObject({
      accept:
        'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,' +
        'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
      'accept-encoding': 'zstd, gzip;q=0.9',
      'user-agent': 'Tidemark/9.9.9',
      'x-prometheus-scrape-timeout-seconds': '0.1',
    });
  });

  test.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ])('compressed by %s, OpenMetrics, metadata', async (encoding, compress) => {
    const target = await startScrapeTarget('');
    target.answer = {
      headers: {
        'content-type': 'application/openmetrics-text; version=1.0.0; charset=utf-8',
        'content-encoding': encoding,
      },
      body: compress(
        '# HELP c_bytes h\\n1\n# TYPE c_bytes counter\n# UNIT c_bytes bytes\nc_bytes_total 5 # {a="b"} 1\n# EOF\n',
      ),
    };
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    expect((await rig.next(labelled('c_bytes_total', target.address))).value).toBe(5);
    expect(rig.distributor.metadata.get('c_bytes')).toEqual({
      metric: 'c_bytes',
      type: 'counter',
      help: 'h\n1',
      unit: 'bytes',
    });
  });

  test('bucket bounds in normal form, under their type line only', async () => {
    const target = await startScrapeTarget(
      '# TYPE h histogram\nh_bucket{le="1"} 1\n# TYPE s summary\ns{quantile=".5"} 1\n# TYPE g gauge\ng{le="1"} 1\n',
    );
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.names()).toEqual(
      expect.arrayContaining([
        labelled('h_bucket', target.address, 'le="1.0"'),
        labelled('s', target.address, 'quantile="0.5"'),
        labelled('g', target.address, 'le="1"'),
      ]),
    );
  });

  test('of a series twice in one exposition the first stays', async () => {
    const target = await startScrapeTarget('a 1\na  2\na{} 3\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('scrape_samples_scraped', target.address));
    expect(rig.distributor.series(labelled('a', target.address))).toMatchObject([{ value: 1 }]);
    expect(rig.last(labelled('scrape_samples_scraped', target.address))!.value).toBe(3);
  });
});

describe('labels', () => {
  test('conflicts: exported_ by default, the exposition’s with honor_labels', async () => {
    const target = await startScrapeTarget('a{instance="i",job="j",exported_job="k"} 1\nb{instance=""} 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.names()).toContain(
      `a{exported_exported_job="j", exported_instance="i", exported_job="k", instance="${target.address}", job="a"}`,
    );
    expect(rig.distributor.names()).toContain(labelled('b', target.address));
    await rig.apply(jobOf(target.address, 'honor_labels: true'));
    await rig.next('a{exported_job="k", instance="i", job="j"}');
    expect(rig.distributor.names()).toContain('b{job="a"}');
  });

  test('metric relabelling drops and renames', async () => {
    const target = await startScrapeTarget('a{x="1"} 1\nb 2\n');
    const rig = await createRig();
    await rig.apply(
      jobOf(
        target.address,
        'metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}, {source_labels: [x], target_label: y}, {regex: x, action: labeldrop}]',
      ),
    );
    await rig.next(labelled('a', target.address, 'y="1"'));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.names().filter((name) => /^[ab]\{/.test(name))).toEqual([
      labelled('a', target.address, 'y="1"'),
    ]);
    expect(rig.last(labelled('scrape_samples_scraped', target.address))!.value).toBe(2);
    expect(rig.last(labelled('scrape_samples_post_metric_relabeling', target.address))!.value).toBe(1);
  });

  test('honor_timestamps: false takes the time of the scrape', async () => {
    const target = await startScrapeTarget('a 1 5\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address, 'honor_timestamps: false'));
    const up = await rig.next(labelled('up', target.address));
    expect(rig.last(labelled('a', target.address))!.timestampMs).toBe(up.timestampMs);
  });
});
