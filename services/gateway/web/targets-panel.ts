// What is scraped, and how that goes.
import { call, type Target } from './api.ts';
import { byId, element } from './dom.ts';
import { printAge, printLatency } from './format.ts';
import { repeat } from './repeat.ts';
import { labelNodes } from './table.ts';

const INTERVAL_MS = 5000;
/** Rows that are shown; broken targets come first. */
const ROWS_MAX = 500;

const HEALTH_ORDER: ReadonlyMap<string, number> = new Map([
  ['down', 0],
  ['unknown', 1],
  ['up', 2],
]);

export function startTargetsPanel(): void {
  repeat(INTERVAL_MS, async () => {
    try {
      const { data } = await call<{ activeTargets: Target[] }>('targets?state=active');
      show(data.activeTargets);
    } catch (caught) {
      showError(caught);
    }
  });
}

function show(targets: readonly Target[]): void {
  const down = targets.filter(({ health }) => health === 'down').length;
  const up = targets.filter(({ health }) => health === 'up').length;
  byId('targets-summary').textContent = targets.length === 0 ? '' : `${up} of ${targets.length} up`;
  const badge = byId('targets-badge');
  badge.hidden = down === 0;
  badge.textContent = `${down} down`;
  byId('targets-body').replaceChildren(targets.length === 0 ? emptyNode() : tableOf(targets));
}

function emptyNode(): HTMLElement {
  return element(
    'div',
    { className: 'empty' },
    element('p', {}, 'Nothing is scraped yet'),
    element(
      'p',
      {},
      'Add scrape_configs to the configuration file and reload, or send samples by remote write.',
    ),
  );
}

function showError(caught: unknown): void {
  const text = caught instanceof Error ? caught.message : String(caught);
  byId('targets-summary').textContent = '';
  byId('targets-body').replaceChildren(element('p', { className: 'message' }, text));
}

function tableOf(targets: readonly Target[]): HTMLElement {
  const rank = ({ health }: Target) => HEALTH_ORDER.get(health) ?? 1;
  const sorted = targets.toSorted((a, b) => rank(a) - rank(b) || (a.scrapePool < b.scrapePool ? -1 : 1));
  const nowMs = Date.now();
  const head = element(
    'tr',
    {},
    ...['Job', 'Endpoint', 'State', 'Labels'].map((title) => element('th', {}, title)),
    ...['Last scrape', 'Duration', 'Interval'].map((title) => element('th', { className: 'number' }, title)),
  );
  const rows = sorted.slice(0, ROWS_MAX).map((target) => rowOf(target, nowMs));
  const table = element('table', {}, element('thead', {}, head), element('tbody', {}, ...rows));
  const cut = sorted.length - ROWS_MAX;
  const note = element('p', { className: 'hint' }, `${cut} more targets are not shown.`);
  return element('div', { className: 'scroll' }, table, ...(cut > 0 ? [note] : []));
}

function rowOf(target: Target, nowMs: number): HTMLElement {
  const endpoint = element('td', {}, endpointNode(target.scrapeUrl));
  if (target.lastError !== '')
    endpoint.append(element('div', { className: 'target-error' }, target.lastError));
  const known = HEALTH_ORDER.has(target.health) ? target.health : 'unknown';
  const number = (text: string) => element('td', { className: 'number' }, text);
  const isScraped = Date.parse(target.lastScrape) > 0;
  return element(
    'tr',
    {},
    element('td', {}, target.scrapePool),
    endpoint,
    element('td', {}, element('span', { className: `pill ${known}` }, target.health)),
    element('td', { className: 'target-labels' }, labelNodes(target.labels)),
    number(printAge(target.lastScrape, nowMs)),
    number(isScraped ? printLatency(target.lastScrapeDuration) : '–'),
    number(target.scrapeInterval),
  );
}

/** A link only where the address is one of the web: it comes from labels, which anybody may have written. */
function endpointNode(url: string): Node {
  if (!/^https?:\/\//.test(url)) return document.createTextNode(url);
  return element('a', { attributes: { href: url, rel: 'noreferrer' } }, url);
}
