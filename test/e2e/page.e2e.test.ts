// The page in a real browser, against a gateway whose querier and scraper are played.
import type { Browser, Page } from 'playwright-core';
import { Counter } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { launchBrowser } from '../support/browser.ts';
import { type GatewayRig, startGateway } from '../support/gateway-rig.ts';
import { HOSTILE, playWaves } from '../support/played-page.ts';
import { hasPrograms } from '../support/process.ts';

const HAS_BROWSER = hasPrograms('chromium');

describe.skipIf(!HAS_BROWSER)('the page', () => {
  let rig: GatewayRig;
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];

  beforeAll(async () => {
    const labels = [
      { __name__: 'up', job: 'node' },
      { __name__: 'up', job: HOSTILE },
    ];
    rig = await startGateway(playWaves(labels), { externalUrl: 'http://example.com/metrics-here/' });
    browser = await launchBrowser();
    page = await browser.newPage({ viewport: { width: 1200, height: 900 }, colorScheme: 'light' });
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(rig.url)) problems.push(`left the server: ${request.url()}`);
    });
  });
  afterAll(async () => {
    await browser?.close();
    await rig?.close();
    expect(problems.filter((text) => !text.includes('400 (Bad Request)'))).toEqual([]);
  });

  /** Colours of the canvas that are not transparent, and how many pixels are drawn. */
  const countPixels = () =>
    page.evaluate(`(() => {
      const canvas = document.querySelector('.graph canvas');
      const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      const seen = {};
      for (let i = 0; i < pixels.length; i += 4) {
        if (pixels[i + 3] < 255) continue;
        const key = pixels[i] + ',' + pixels[i + 1] + ',' + pixels[i + 2];
        seen[key] = (seen[key] ?? 0) + 1;
      }
      return seen;
    })()`) as Promise<Record<string, number>>;

  test('draws the answer of a query', async () => {
    await page.goto(`${rig.url}/`);
    await page.getByText('begin with one of these').waitFor();
    await page.fill('#expr', 'up');
    await page.press('#expr', 'Enter');
    await page.waitForSelector('.graph canvas');
    const colours = await countPixels();
    // The colours of the first two lines of palette.ts.
    expect(colours['16,152,173']).toBeGreaterThan(200);
    expect(colours['247,103,7']).toBeGreaterThan(200);
    expect(await page.textContent('#summary')).toMatch(/^2 series · \d+ ms · step 15s$/);
    expect(new URL(page.url()).searchParams.get('g0.expr')).toBe('up');
  });

  test('shows hostile labels and errors as text', async () => {
    await page.goto(`${rig.url}/graph?g0.expr=up&g0.tab=1`);
    await page.waitForSelector('#result table');
    expect(await page.textContent('#result')).toContain(JSON.stringify(HOSTILE));
    await page.waitForSelector('#targets-body table');
    expect(await page.textContent('.target-error')).toContain(HOSTILE);
    expect(await page.locator('#targets-body a[href^="javascript"]').count()).toBe(0);
    await page.click('#tab-graph');
    await page.waitForSelector('.legend');
    expect(await page.textContent('.legend')).toContain(JSON.stringify(HOSTILE));
    expect(await page.evaluate('window.hacked')).toBeUndefined();
    expect(await page.locator('main img, main script').count()).toBe(0);
  });

  test('takes the parameters of links in alerts', async () => {
    await page.goto(`${rig.url}/metrics-here/graph?g0.expr=up&g0.tab=0&g0.range_input=30m&g0.step_input=1m`);
    await page.waitForSelector('.graph canvas');
    expect(await page.inputValue('#range')).toBe('30m');
    expect(await page.textContent('#summary')).toMatch(/step 1m$/);
    expect(await page.textContent('#remote-write')).toBe(
      `remote_write:\n  - url: ${rig.url}/metrics-here/api/v1/write\n`,
    );
  });

  test('says what is wrong, and what is empty', async () => {
    await page.goto(`${rig.url}/query?g0.expr=boom`);
    await page.waitForSelector('#message:not([hidden])');
    expect(await page.textContent('#message')).toBe(
      'bad_data: invalid parameter "query": 1:5: parse error: unexpected end of input',
    );
    await page.fill('#expr', 'none');
    await page.press('#expr', 'Enter');
    await page.getByText('Empty result').waitFor();
    expect(await page.isVisible('#message')).toBe(false);
  });

  test('zooms into what is dragged over, and the way back leads out', async () => {
    await page.goto(`${rig.url}/query?g0.expr=up&g0.range_input=1h`);
    await page.waitForSelector('.graph canvas');
    const plot = (await page.locator('.u-over').boundingBox())!;
    await page.mouse.move(plot.x + plot.width / 4, plot.y + 50);
    await page.mouse.down();
    await page.mouse.move(plot.x + plot.width / 2, plot.y + 60, { steps: 4 });
    await page.mouse.up();
    await expect.poll(() => page.inputValue('#range')).toMatch(/^1[45]m/);
    expect(await page.textContent('#end-now')).not.toBe('now');
    await page.goBack();
    await expect.poll(() => page.inputValue('#range')).toBe('1h');
  });

  test('completes metric names', async () => {
    await page.goto(`${rig.url}/query`);
    await page.click('#expr');
    await page.locator('#expr').pressSequentially('rate(node_c');
    await page.waitForSelector('#completions:not([hidden])');
    await page.press('#expr', 'Tab');
    expect(await page.inputValue('#expr')).toBe('rate(node_cpu_seconds_total');
    await page.press('#expr', 'Shift+Enter');
    expect(await page.inputValue('#expr')).toBe('rate(node_cpu_seconds_total\n');
  });

  test('shows how fast samples arrive', async () => {
    const counter = new Counter({
      name: 'tidemark_distributor_samples_written_total',
      help: 'Samples.',
      registers: [rig.registry],
    });
    counter.inc(5_000_000);
    await expect.poll(() => page.textContent('#arrivals-rate'), { timeout: 15_000 }).toMatch(/[Mk]$/);
    expect(await page.locator('#sparkline polyline').getAttribute('points')).toContain(',');
  });

  test('shows nothing of a cluster where there is none', async () => {
    const answered = page.waitForResponse((response) => response.url().endsWith('/cluster/members'));
    await page.goto(`${rig.url}/`);
    await answered;
    await page.waitForSelector('#targets-body table');
    expect(await page.isVisible('#cluster')).toBe(false);
    expect(await page.isVisible('#cluster-link')).toBe(false);
  });
});
