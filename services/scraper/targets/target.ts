// From a discovered label set to something that can be scraped: Prometheus' defaults, relabelling, and what the labels that
// start with `__` mean.

import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { hash128 } from '../../lib/core/hash128.ts';
import type { HistogramChoice } from '../../lib/exposition/protobuf-parser.ts';
import { formatDuration, parseDuration } from '../../lib/model/duration.ts';
import { Labels } from '../../lib/model/labels.ts';
import type { Relabeler } from '../../lib/relabel/relabel.ts';
import type { TargetGroup } from '../../lib/runtime/config/discovery-config.ts';
import type { ScrapeConfig } from '../../lib/runtime/config/prometheus-config.ts';

const ADDRESS = '__address__';
const SCHEME = '__scheme__';
const METRICS_PATH = '__metrics_path__';
const SCRAPE_INTERVAL = '__scrape_interval__';
const SCRAPE_TIMEOUT = '__scrape_timeout__';
const NATIVE_HISTOGRAMS = '__scrape_native_histograms__';
const CLASSIC_HISTOGRAMS = '__always_scrape_classic_histograms__';
const CUSTOM_BUCKETS = '__convert_classic_histograms_to_nhcb__';
const PARAM_PREFIX = '__param_';
const META_PREFIX = '__meta_';
const RESERVED_PREFIX = '__';
const JOB = 'job';
const INSTANCE = 'instance';

/** One thing to scrape. */
export interface Target {
  /** Identity: all labels that are left after relabelling, and the URL. Equal keys are one target. */
  readonly key: string;
  /** Labels before relabelling, for the API. */
  readonly discoveredLabels: Labels;
  /** Labels that its series carry. */
  readonly labels: Labels;
  readonly url: URL;
  /** The URL as people wrote it: a default port stays. */
  readonly scrapeUrl: string;
  readonly scrapeIntervalMs: number;
  readonly scrapeTimeoutMs: number;
  /** Which parts of its histograms become samples. */
  readonly histograms: HistogramChoice;
  /** Unsigned 32-bit, from the identity: where in its interval the target is scraped. The same in every scraper. */
  readonly offsetSeed: number;
}

export type TargetOutcome =
  | { readonly kind: 'active'; readonly target: Target }
  | { readonly kind: 'dropped'; readonly discoveredLabels: Labels }
  /** A target that cannot be: logged, and neither active nor dropped, as in Prometheus. */
  | { readonly kind: 'failed'; readonly reason: string; readonly discoveredLabels: Labels };

/** All targets of a group. */
export function buildTargets(
  config: ScrapeConfig,
  group: TargetGroup,
  relabel: Relabeler,
): readonly TargetOutcome[] {
  return group.targets.map((address, i) => {
    const discovered = discoveredLabels(config, group, address, group.targetLabels?.[i]);
    try {
      const relabelled = relabel(discovered);
      if (relabelled === undefined) return { kind: 'dropped', discoveredLabels: discovered };
      return { kind: 'active', target: buildTarget(config, discovered, relabelled) };
    } catch (caught) {
      if (!(caught instanceof AppError)) throw caught;
      return { kind: 'failed', reason: caught.message, discoveredLabels: discovered };
    }
  });
}

/** The target's and the group's labels, then the job's defaults where these say nothing. */
function discoveredLabels(
  config: ScrapeConfig,
  group: TargetGroup,
  address: string,
  own: Labels | undefined,
): Labels {
  const labels = new Map<string, string>(group.labels.entries());
  for (const [name, value] of own?.entries() ?? []) labels.set(name, value);
  labels.set(ADDRESS, address);
  const defaults: readonly (readonly [string, string])[] = [
    [JOB, config.jobName],
    [SCRAPE_INTERVAL, formatDuration(config.scrapeIntervalMs)],
    [SCRAPE_TIMEOUT, formatDuration(config.scrapeTimeoutMs)],
    [METRICS_PATH, config.metricsPath],
    [SCHEME, config.scheme],
    [NATIVE_HISTOGRAMS, String(config.histograms.native)],
    [CLASSIC_HISTOGRAMS, String(config.histograms.classicToo)],
    [CUSTOM_BUCKETS, String(config.histograms.customBuckets)],
  ];
  for (const [name, value] of defaults) if (!labels.get(name)) labels.set(name, value);
  for (const [name, values] of config.params) {
    const label = `${PARAM_PREFIX}${name}`;
    if (values.length > 0 && !labels.get(label)) labels.set(label, values[0]!);
  }
  return Labels.from(labels);
}

function buildTarget(config: ScrapeConfig, discovered: Labels, relabelled: Labels): Target {
  const address = relabelled.get(ADDRESS);
  if (address === '')
    throw new AppError('bad_data', 'no address: the label __address__ is empty after relabelling');
  if (address.includes('/'))
    throw new AppError('bad_data', `${JSON.stringify(address)} is not a valid hostname`);
  const scrapeIntervalMs = readInterval(relabelled, SCRAPE_INTERVAL, 'interval');
  const scrapeTimeoutMs = readInterval(relabelled, SCRAPE_TIMEOUT, 'timeout');
  if (scrapeTimeoutMs > scrapeIntervalMs) {
    throw new AppError(
      'bad_data',
      `scrape timeout cannot be greater than scrape interval ("${relabelled.get(SCRAPE_TIMEOUT)}" > "${relabelled.get(SCRAPE_INTERVAL)}")`,
    );
  }
  const histograms = {
    native: readChoice(relabelled, NATIVE_HISTOGRAMS, config.histograms.native),
    classicToo: readChoice(relabelled, CLASSIC_HISTOGRAMS, config.histograms.classicToo),
    customBuckets: readChoice(relabelled, CUSTOM_BUCKETS, config.histograms.customBuckets),
  };
  let kept = relabelled.filter((name) => !name.startsWith(META_PREFIX));
  if (!kept.has(INSTANCE)) kept = kept.with(INSTANCE, address);
  const { url, scrapeUrl } = buildUrl(config, kept, address);
  const key = `${kept.key}${scrapeUrl}`;
  return {
    key,
    discoveredLabels: discovered,
    labels: kept.filter((name) => !name.startsWith(RESERVED_PREFIX)),
    url,
    scrapeUrl,
    scrapeIntervalMs,
    scrapeTimeoutMs,
    histograms,
    offsetSeed: hashOf(key),
  };
}

/** A boolean as Go reads it; without the label the job's own. */
function readChoice(labels: Labels, name: string, fallback: boolean): boolean {
  const text = labels.get(name);
  if (text === '') return fallback;
  if (/^(?:1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(?:0|f|F|FALSE|false|False)$/.test(text)) return false;
  throw new AppError('bad_data', `${JSON.stringify(text)} is not true or false (label ${name})`);
}

function readInterval(labels: Labels, name: string, what: string): number {
  const text = labels.get(name);
  let durationMs: number;
  try {
    durationMs = parseDuration(text);
  } catch {
    throw new AppError(
      'bad_data',
      `error parsing scrape ${what}: not a valid duration string: "${text}" (label ${name})`,
    );
  }
  if (durationMs === 0) throw new AppError('bad_data', `scrape ${what} cannot be 0 (label ${name})`);
  return durationMs;
}

function buildUrl(config: ScrapeConfig, labels: Labels, address: string): { url: URL; scrapeUrl: string } {
  const scheme = labels.get(SCHEME) || 'http';
  if (scheme !== 'http' && scheme !== 'https') {
    throw new AppError('bad_data', `${JSON.stringify(scheme)} is not http or https (label ${SCHEME})`);
  }
  let url: URL;
  try {
    url = new URL(`${scheme}://${address}`);
  } catch {
    throw new AppError('bad_data', `${JSON.stringify(address)} is not host:port (label ${ADDRESS})`);
  }
  url.pathname = labels.get(METRICS_PATH);
  url.search = buildQuery(config, labels);
  return { url, scrapeUrl: `${scheme}://${address}${url.pathname}${url.search}` };
}

/** The job's parameters; a label `__param_x` replaces the first value of `x`. */
function buildQuery(config: ScrapeConfig, labels: Labels): string {
  const params = new Map<string, string[]>();
  for (const [name, values] of config.params) params.set(name, [...values]);
  for (const [label, value] of labels.entries()) {
    if (!label.startsWith(PARAM_PREFIX)) continue;
    const name = label.slice(PARAM_PREFIX.length);
    const values = params.get(name);
    if (values !== undefined && values.length > 0) values[0] = value;
    else params.set(name, [value]);
  }
  const query = new URLSearchParams();
  for (const name of [...params.keys()].toSorted())
    for (const value of params.get(name)!) query.append(name, value);
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

function hashOf(text: string): number {
  const bytes = encodeUtf8(text);
  const words = new Uint32Array(4);
  hash128(bytes, 0, bytes.length, 0, words);
  return words[0]!;
}

/** The first scrape time at or after `nowMs` on the target's grid. */
export function nextScrapeMs(target: Target, nowMs: number): number {
  const intervalMs = target.scrapeIntervalMs;
  const offsetMs = target.offsetSeed % intervalMs;
  return Math.ceil((nowMs - offsetMs) / intervalMs) * intervalMs + offsetMs;
}

/** Loopback hosts stand for this machine; outside it has another name. */
export function globalUrl(target: Target, externalHost: string | undefined): string {
  const host = target.url.hostname;
  const loopback = host === 'localhost' || host === '[::1]' || /^127(?:\.\d+){3}$/.test(host);
  if (!loopback || externalHost === undefined) return target.scrapeUrl;
  return target.scrapeUrl.replace(host, externalHost);
}
