// /api/v1/targets, targets/metadata, targets/relabel_steps, targets/explain, service-discovery and scrape_pools: what all scrapers together
// scrape.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { parseMetricSelector } from '../../lib/promql/parse/parser.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import {
  type ActiveTarget,
  type DroppedTarget,
  type RelabelStep,
  type RelabelStepsRequest,
  type RelabelStepsResponse,
  TargetState,
  type TargetsResponse,
} from '../../lib/wire/contracts.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import type { ApiResult, Exchange } from '../http/exchange.ts';
import { forParameter } from '../http/parameters.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { formatTime, sortedObject } from '../json/json-values.ts';
import { listing } from './calls.ts';
import { explainTarget, parseSubject } from './explain-target.ts';
import { type MergedTargets, mergeTargets } from './merged-targets.ts';

const LIMIT_MAX = 0xffffffff;

export interface TargetsApiDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
}

export function targetsRoutes(deps: TargetsApiDeps): Route[] {
  return [
    apiRoute(['GET'], '/api/v1/targets', (exchange) => answerTargets(exchange, deps)),
    apiRoute(['GET'], '/api/v1/targets/metadata', (exchange) => answerTargetMetadata(exchange, deps)),
    apiRoute(['GET'], '/api/v1/targets/relabel_steps', (exchange) => answerRelabelSteps(exchange, deps)),
    apiRoute(['GET'], '/api/v1/targets/explain', (exchange) => answerExplain(exchange, deps)),
    apiRoute(['GET'], '/api/v1/service-discovery', (exchange) => answerServiceDiscovery(exchange, deps)),
    apiRoute(['GET'], '/api/v1/scrape_pools', (exchange) => answerScrapePools(exchange, deps)),
  ];
}

function stateOf(text: string): TargetState {
  switch (text.toLowerCase()) {
    case '':
    case 'any':
      return TargetState.TARGET_STATE_ANY;
    case 'active':
      return TargetState.TARGET_STATE_ACTIVE;
    case 'dropped':
      return TargetState.TARGET_STATE_DROPPED;
    default:
      return TargetState.TARGET_STATE_UNSPECIFIED;
  }
}

function askScrapers(
  exchange: Exchange,
  deps: TargetsApiDeps,
  state: TargetState,
  scrapePool: string,
): Promise<TargetsResponse[]> {
  return listing(deps.clock, exchange.signal, (context) =>
    Promise.all(deps.cluster.scrapers().map(({ client }) => client.targets({ state, scrapePool }, context))),
  );
}

async function answerTargets(exchange: Exchange, deps: TargetsApiDeps): Promise<ApiResult> {
  const state = stateOf(exchange.parameters.get('state'));
  const wantsActive = state === TargetState.TARGET_STATE_ACTIVE || state === TargetState.TARGET_STATE_ANY;
  const wantsDropped = state === TargetState.TARGET_STATE_DROPPED || state === TargetState.TARGET_STATE_ANY;
  const answers = await askScrapers(exchange, deps, state, exchange.parameters.get('scrapePool'));
  const { active, dropped, droppedCounts, problems } = mergeTargets(answers);
  return {
    data: {
      activeTargets: wantsActive ? byPool(active).map(activeJson) : [],
      droppedTargets: wantsDropped ? byPool(dropped).map(droppedJson) : [],
      droppedTargetCounts: sortedObject(droppedCounts),
    },
    warnings: problems.map(discoveryWarning),
  };
}

function discoveryWarning({ scrapePool, problem }: MergedTargets['problems'][number]): string {
  return `service discovery of ${scrapePool}: ${problem}`;
}

/**
 * Ours: what discovery found and what became of it, by job: the labels before relabelling of every target, those after it of the ones
 * that are scraped, how many there are of each, and what does not work. (Prometheus' page of that name puts it together from `targets`.)
 */
async function answerServiceDiscovery(exchange: Exchange, deps: TargetsApiDeps): Promise<ApiResult> {
  const state = TargetState.TARGET_STATE_ANY;
  const merged = mergeTargets(
    await askScrapers(exchange, deps, state, exchange.parameters.get('scrapePool')),
  );
  const pools = new Map<string, { active: ActiveTarget[]; dropped: DroppedTarget[]; problems: string[] }>();
  const poolOf = (name: string) => {
    const known = pools.get(name) ?? { active: [], dropped: [], problems: [] };
    pools.set(name, known);
    return known;
  };
  for (const name of Object.keys(merged.droppedCounts)) poolOf(name);
  for (const each of merged.active) poolOf(each.scrapePool).active.push(each);
  for (const each of merged.dropped) poolOf(each.scrapePool).dropped.push(each);
  for (const { scrapePool, problem } of merged.problems) poolOf(scrapePool).problems.push(problem);
  const names = [...pools.keys()].sort();
  return {
    data: {
      scrapePools: names.map((scrapePool) => {
        const { active, dropped, problems } = pools.get(scrapePool)!;
        const droppedCount = merged.droppedCounts[scrapePool] ?? dropped.length;
        return {
          scrapePool,
          activeCount: active.length,
          droppedCount,
          discoveredCount: active.length + droppedCount,
          targets: active.map(({ discoveredLabels, labels, health }) => ({
            discoveredLabels: sortedObject(discoveredLabels),
            labels: sortedObject(labels),
            health,
          })),
          droppedTargets: dropped.map(({ discoveredLabels }) => ({
            discoveredLabels: sortedObject(discoveredLabels),
          })),
          problems,
        };
      }),
    },
    warnings: merged.problems.map(discoveryWarning),
  };
}

/** Pools in order of name, as Prometheus lists them; within a pool the scraper's order. */
function byPool<T extends { readonly scrapePool: string }>(targets: readonly T[]): T[] {
  return targets.toSorted((a, b) => (a.scrapePool < b.scrapePool ? -1 : a.scrapePool > b.scrapePool ? 1 : 0));
}

function activeJson(target: ActiveTarget) {
  return {
    discoveredLabels: sortedObject(target.discoveredLabels),
    labels: sortedObject(target.labels),
    scrapePool: target.scrapePool,
    scrapeUrl: target.scrapeUrl,
    globalUrl: target.globalUrl,
    lastError: target.lastError,
    lastScrape: formatTime(target.lastScrapeMs),
    lastScrapeDuration: target.lastScrapeDurationSeconds,
    health: target.health,
    scrapeInterval: target.scrapeInterval,
    scrapeTimeout: target.scrapeTimeout,
  };
}

function droppedJson(target: DroppedTarget) {
  return { discoveredLabels: sortedObject(target.discoveredLabels), scrapePool: target.scrapePool };
}

/** As Prometheus: a limit below 0 is none, 0 gives nothing; a metric that is asked for is not named again. */
async function answerTargetMetadata(exchange: Exchange, deps: TargetsApiDeps): Promise<ApiResult> {
  const { parameters } = exchange;
  const limitText = parameters.get('limit');
  if (!/^([+-]?\d{1,15})?$/.test(limitText)) throw new AppError('bad_data', 'limit must be a number');
  const limit = limitText === '' ? -1 : Number(limitText);
  const selector = parameters.get('match_target');
  const matchers = selector === '' ? [] : forParameter('match_target', () => parseMetricSelector(selector));
  const metric = parameters.get('metric');
  if (limit === 0) return { data: [] };
  const request = {
    matchers: toWireMatchers(matchers),
    metric,
    limit: Math.min(Math.max(limit, 0), LIMIT_MAX),
  };
  const answers = await listing(deps.clock, exchange.signal, (context) =>
    Promise.all(deps.cluster.scrapers().map(({ client }) => client.targetMetadata(request, context))),
  );
  const rows = answers.flatMap(({ families, targets }) =>
    targets.flatMap(({ labels, families: positions }) => {
      const target = sortedObject(labels);
      return positions.map((position) => {
        const { metric: name, type, help, unit } = families[position]!;
        return { target, ...(metric === '' && { metric: name }), type, help, unit };
      });
    }),
  );
  return { data: limit > 0 ? rows.slice(0, limit) : rows };
}

async function answerRelabelSteps(exchange: Exchange, deps: TargetsApiDeps): Promise<ApiResult> {
  const scrapePool = exchange.parameters.get('scrapePool');
  if (scrapePool === '') throw new AppError('bad_data', 'no scrapePool parameter provided');
  const text = exchange.parameters.get('labels');
  if (text === '') throw new AppError('bad_data', 'no labels parameter provided');
  const request = { scrapePool, labels: labelsOf(text) };
  const { steps } = await listing(deps.clock, exchange.signal, (context) =>
    firstThatKnows(request, deps, context),
  );
  return { data: { steps: steps.map(stepJson) } };
}

/** Ours: why something is scraped, or is not. */
async function answerExplain(exchange: Exchange, deps: TargetsApiDeps): Promise<ApiResult> {
  const target = exchange.parameters.get('target');
  if (target === '') throw new AppError('bad_data', 'no target parameter provided');
  const request = { state: TargetState.TARGET_STATE_ANY, scrapePool: '' };
  const data = await listing(deps.clock, exchange.signal, async (context) => {
    const scrapers = await Promise.all(
      deps.cluster.scrapers().map(async ({ client, instance }) => {
        const answer = await client.targets(request, context);
        return { ...answer, scraper: instance, problems: answer.discoveryProblems };
      }),
    );
    return explainTarget(parseSubject(target), scrapers, async (scrapePool, labels) => {
      const answer = await firstThatKnows({ scrapePool, labels: { ...labels } }, deps, context).catch(
        () => undefined,
      );
      return answer?.steps;
    });
  });
  return { data };
}

/** Scrapers may have read different versions of the file: the first that has the job answers. */
async function firstThatKnows(
  request: RelabelStepsRequest,
  { cluster }: TargetsApiDeps,
  context: CallContext,
): Promise<RelabelStepsResponse> {
  let last: AppError | undefined;
  for (const { client } of cluster.scrapers()) {
    try {
      return await client.relabelSteps(request, context);
    } catch (caught) {
      last = toAppError(caught);
      if (last.code !== 'not_found' && last.code !== 'unavailable') throw last;
    }
  }
  if (last?.code === 'not_found')
    throw new AppError('bad_data', `error retrieving scrape config: ${last.message}`);
  throw last ?? new AppError('unavailable', 'no scraper is reachable: wait until one has joined the cluster');
}

function labelsOf(text: string): Record<string, string> {
  let labels: unknown;
  try {
    labels = JSON.parse(text);
  } catch (caught) {
    throw new AppError(
      'bad_data',
      `error parsing labels: ${caught instanceof Error ? caught.message : String(caught)}`,
    );
  }
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels))
    throw new AppError('bad_data', 'error parsing labels: an object of names and values is expected');
  const entries = Object.entries(labels);
  const wrong = entries.find(([, value]) => typeof value !== 'string');
  if (wrong !== undefined)
    throw new AppError(
      'bad_data',
      `error parsing labels: the value of ${JSON.stringify(wrong[0])} is not a string`,
    );
  return Object.fromEntries(entries as [string, string][]);
}

function stepJson({ rule, output, keep }: RelabelStep) {
  const { sourceLabels, separator, regex, modulus, targetLabel, replacement, action } = rule!;
  return {
    rule: {
      ...(sourceLabels.length === 0 ? {} : { source_labels: sourceLabels }),
      separator,
      regex,
      ...(modulus === 0 ? {} : { modulus }),
      ...(targetLabel === '' ? {} : { target_label: targetLabel }),
      replacement,
      action,
    },
    output: sortedObject(output),
    keep,
  };
}

async function answerScrapePools(exchange: Exchange, deps: TargetsApiDeps): Promise<ApiResult> {
  const answers = await askScrapers(exchange, deps, TargetState.TARGET_STATE_ANY, '');
  const pools = new Set<string>();
  for (const { active, dropped, droppedCounts } of answers) {
    for (const { scrapePool } of [...active, ...dropped]) pools.add(scrapePool);
    for (const pool of Object.keys(droppedCounts)) pools.add(pool);
  }
  return { data: { scrapePools: [...pools].sort() } };
}
