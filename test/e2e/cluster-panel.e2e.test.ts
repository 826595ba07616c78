// The page's cluster section in a real browser, against a gateway whose view of the cluster is played.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClusterView } from '../../services/gateway/host.ts';
import { launchBrowser } from '../support/browser.ts';
import { type GatewayRig, startGateway } from '../support/gateway-rig.ts';
import { playedCluster } from '../support/played-cluster.ts';
import { HOSTILE, playWaves } from '../support/played-page.ts';
import { hasPrograms } from '../support/process.ts';

const HAS_BROWSER = hasPrograms('chromium');

describe.skipIf(!HAS_BROWSER)('the cluster section', () => {
  let rig: GatewayRig;
  let browser: Browser;
  let page: Page;
  let view: ClusterView = playedCluster();
  const problems: string[] = [];

  beforeAll(async () => {
    rig = await startGateway(playWaves([{ __name__: 'up' }]), {}, { members: () => view });
    browser = await launchBrowser();
    page = await browser.newPage({ viewport: { width: 1200, height: 900 }, colorScheme: 'light' });
    page.on('pageerror', (error) => problems.push(error.message));
  });
  afterAll(async () => {
    await browser?.close();
    await rig?.close();
    expect(problems).toEqual([]);
  });

  test('shows the processes, the missing first', async () => {
    await page.goto(`${rig.url}/`);
    await page.waitForSelector('#cluster-body table');
    expect(await page.textContent('#cluster-summary')).toBe(
      '11 of 13 ready · 64 partitions × 3 replicas · placement 7',
    );
    expect(await page.textContent('#cluster-badge')).toBe('1 absent');
    const rows: (string | null)[][] = await page
      .locator('#cluster-body tbody tr')
      .evaluateAll((nodes) => nodes.map((row) => [...row.children].map((cell) => cell.textContent)));
    expect(rows).toHaveLength(13);
    expect(rows[0]).toEqual(['ingester', 'ingester-2', 'absent', 'zone-c', '64', 'none', '–', '–', '–']);
    expect(rows[1]!.slice(0, 4)).toEqual(['querier', 'querier-1', 'draining', 'zone-b']);
    expect(rows.find(([, instance]) => instance === 'ingester-0')).toEqual([
      'ingester',
      'ingester-0',
      'ready',
      'zone-a',
      '64',
      '0.4 s ago',
      '2h ago',
      '0.1.0',
      '10.0.0.10:9095',
    ]);
    expect(rows.find(([, instance]) => instance === 'scraper-1')![3]).toBe(HOSTILE);
    expect(await page.evaluate('window.hacked')).toBeUndefined();
  });

  test('follows what happens', async () => {
    const { members } = playedCluster();
    view = playedCluster({ epoch: 8, members: members.filter(({ state }) => state === 'ready') });
    await expect
      .poll(() => page.textContent('#cluster-summary'), { timeout: 15_000 })
      .toBe('11 of 11 ready · 64 partitions × 3 replicas · placement 8');
    expect(await page.isVisible('#cluster-badge')).toBe(false);
  });

  test('says that NATS is away and that versions are mixed', async () => {
    const { members } = playedCluster();
    const mixed = members.map((one, i) => (i === 3 ? { ...one, version: '0.0.9' } : one));
    view = playedCluster({ isControlPlaneReachable: false, members: mixed });
    await page.goto(`${rig.url}/`);
    await page.waitForSelector('#cluster-body .notices');
    const notices = await page.locator('#cluster-body .notices li').allTextContents();
    expect(notices[0]).toMatch(/^NATS cannot be reached/);
    expect(notices[1]).toBe('Several versions run at once: 0.0.9, 0.1.0');
  });

  test('is reached and scrolled by keyboard, on a narrow screen in the dark too', async () => {
    view = playedCluster();
    const narrow = await browser.newPage({ viewport: { width: 390, height: 800 }, colorScheme: 'dark' });
    await narrow.goto(`${rig.url}/`);
    await narrow.waitForSelector('#cluster-body table');
    await narrow.focus('#cluster-link');
    await narrow.keyboard.press('Enter');
    await expect.poll(() => narrow.evaluate('location.hash')).toBe('#cluster');
    await narrow.keyboard.press('Tab');
    expect(await narrow.evaluate(`document.activeElement.getAttribute('aria-label')`)).toBe(
      'Processes of the cluster',
    );
    await narrow.keyboard.press('ArrowRight');
    const region = narrow.locator('#cluster-body .scroll');
    await expect.poll(() => region.evaluate((node) => node.scrollLeft)).toBeGreaterThan(0);
    // The page itself does not scroll sideways.
    expect(await narrow.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await narrow.close();
  });
});
