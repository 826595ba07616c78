// /api/v1/rules, alerts and alertmanagers: what all alert evaluators together evaluate, filtered and paged as Prometheus
// does.
import { createHash } from 'node:crypto';
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { compileMatcher, type Matcher } from '../../lib/model/matcher.ts';
import { formatExponent } from '../../lib/model/number-format.ts';
import { goQuote } from '../../lib/promql/parse/go-quote.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { Alert, Rule, RuleGroup } from '../../lib/wire/contracts.ts';
import type { ApiResult, Exchange } from '../http/exchange.ts';
import { invalidParameter, type Parameters, parseInteger } from '../http/parameters.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { formatTime, sortedObject } from '../json/json-values.ts';
import { listing } from './calls.ts';
import { parseSelectors } from './series-api.ts';

export interface RulesApiDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
}

export function rulesRoutes(deps: RulesApiDeps): Route[] {
  return [
    apiRoute(['GET'], '/api/v1/rules', (exchange) => answerRules(exchange, deps)),
    apiRoute(['GET'], '/api/v1/alerts', (exchange) => answerAlerts(exchange, deps)),
    apiRoute(['GET'], '/api/v1/alertmanagers', (exchange) => answerAlertmanagers(exchange, deps)),
  ];
}

/** Groups of all evaluators, by file and then in the file's order. */
async function askGroups(exchange: Exchange, deps: RulesApiDeps): Promise<RuleGroup[]> {
  const answers = await listing(deps.clock, exchange.signal, (context) =>
    Promise.all(deps.cluster.alertEvaluators().map(({ client }) => client.ruleGroups({}, context))),
  );
  const groups = answers.flatMap((answer) => answer.groups);
  return answers.length < 2
    ? groups
    : groups.toSorted((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0));
}

async function answerRules(exchange: Exchange, deps: RulesApiDeps): Promise<ApiResult> {
  const { parameters } = exchange;
  const keeps = await readFilter(parameters);
  const withAlerts = !readExcludeAlerts(parameters.get('exclude_alerts'));
  const page = readPage(parameters);
  const groupNames = new Set(parameters.all('rule_group[]'));
  const files = new Set(parameters.all('file[]'));
  const shown: { group: RuleGroup; rules: Rule[] }[] = [];
  for (const group of page.select(await askGroups(exchange, deps))) {
    if (groupNames.size > 0 && !groupNames.has(group.name)) continue;
    if (files.size > 0 && !files.has(group.file)) continue;
    const rules = group.rules.filter(keeps);
    if (rules.length > 0) shown.push({ group, rules });
  }
  const { taken, nextToken } = page.cut(shown);
  return {
    data: {
      groups: taken.map(({ group, rules }) => groupJson(group, rules, withAlerts)),
      ...(nextToken === '' ? {} : { groupNextToken: nextToken }),
    },
  };
}

async function readFilter(parameters: Parameters): Promise<(rule: Rule) => boolean> {
  const type = parameters.get('type').toLowerCase();
  if (type !== '' && type !== 'alert' && type !== 'record') {
    throw invalidParameter('type', `not supported value ${goQuote(type)}`);
  }
  const names = new Set(parameters.all('rule_name[]'));
  const selectors = (await parseSelectors(parameters)).map(compileSelector);
  return (rule) =>
    (type === '' || (type === 'alert') === (rule.alerting !== undefined)) &&
    (names.size === 0 || names.has(rule.name)) &&
    (selectors.length === 0 || selectors.some((matches) => matches(rule.labels)));
}

function compileSelector(
  matchers: readonly Matcher[],
): (labels: Readonly<Record<string, string>>) => boolean {
  const compiled = matchers.map((matcher) => ({ name: matcher.name, matches: compileMatcher(matcher) }));
  return (labels) =>
    compiled.every(({ name, matches }) => matches(Object.hasOwn(labels, name) ? labels[name]! : ''));
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'true'].map((text): [string, boolean] => [text, true]),
  ...['0', 'f', 'false', ''].map((text): [string, boolean] => [text, false]),
]);

function readExcludeAlerts(text: string): boolean {
  const value = BOOLEANS.get(text.toLowerCase());
  if (value === undefined) {
    throw invalidParameter(
      'exclude_alerts',
      `error converting exclude_alerts: strconv.ParseBool: parsing ${goQuote(text.toLowerCase())}: invalid syntax`,
    );
  }
  return value;
}

interface Page {
  /** Groups from the token on. */
  select(groups: readonly RuleGroup[]): readonly RuleGroup[];
  /** The first `group_limit` that are shown, and the token of the next. */
  cut<T extends { readonly group: RuleGroup }>(
    shown: readonly T[],
  ): { readonly taken: readonly T[]; readonly nextToken: string };
}

function readPage(parameters: Parameters): Page {
  const limitText = parameters.get('group_limit');
  const token = parameters.get('group_next_token');
  if (limitText === '') {
    if (token !== '') {
      throw invalidParameter(
        'group_limit',
        'group_limit needs to be present in order to paginate over the groups',
      );
    }
    return { select: (groups) => groups, cut: (shown) => ({ taken: shown, nextToken: '' }) };
  }
  const limit = readGroupLimit(limitText);
  return {
    select: (groups) => {
      if (token === '') return groups;
      const at = groups.findIndex((group) => tokenOf(group) === token);
      if (at < 0) {
        throw invalidParameter(
          'group_next_token',
          `invalid group_next_token '${token}'. were rule groups changed?`,
        );
      }
      return groups.slice(at);
    },
    cut: (shown) => {
      if (shown.length <= limit) return { taken: shown, nextToken: '' };
      return { taken: shown.slice(0, limit), nextToken: tokenOf(shown[limit]!.group) };
    },
  };
}

function readGroupLimit(text: string): number {
  let limit: number;
  try {
    limit = parseInteger(text);
  } catch (caught) {
    throw invalidParameter(
      'group_limit',
      `group_limit needs to be a valid number: ${toAppError(caught).message}`,
    );
  }
  if (limit <= 0) throw invalidParameter('group_limit', 'group_limit needs to be greater than 0');
  return limit;
}

/** Names a group, whatever stands before it in the list. */
function tokenOf(group: RuleGroup): string {
  return createHash('sha1').update(`${group.file};${group.name}`).digest('hex');
}

function groupJson(group: RuleGroup, rules: readonly Rule[], withAlerts: boolean) {
  return {
    name: group.name,
    file: group.file,
    rules: rules.map((rule) => ruleJson(rule, withAlerts)),
    interval: group.intervalSeconds,
    limit: group.limit,
    evaluationTime: group.evaluationSeconds,
    lastEvaluation: formatTime(group.lastEvaluationMs),
  };
}

function ruleJson(rule: Rule, withAlerts: boolean) {
  const outcome = {
    health: rule.health,
    ...(rule.lastError === '' ? {} : { lastError: rule.lastError }),
    evaluationTime: rule.evaluationSeconds,
    lastEvaluation: formatTime(rule.lastEvaluationMs),
  };
  const { alerting } = rule;
  if (alerting === undefined) {
    const labels = Object.keys(rule.labels).length === 0 ? {} : { labels: sortedObject(rule.labels) };
    return { name: rule.name, query: rule.query, ...labels, ...outcome, type: 'recording' };
  }
  return {
    state: alerting.state,
    name: rule.name,
    query: rule.query,
    duration: alerting.forSeconds,
    keepFiringFor: alerting.keepFiringForSeconds,
    labels: sortedObject(rule.labels),
    annotations: sortedObject(alerting.annotations),
    alerts: withAlerts ? alerting.alerts.filter(isActive).map(alertJson) : [],
    ...outcome,
    type: 'alerting',
  };
}

function isActive(alert: Alert): boolean {
  return alert.state !== 'inactive';
}

function alertJson(alert: Alert) {
  return {
    labels: sortedObject(alert.labels),
    annotations: sortedObject(alert.annotations),
    state: alert.state,
    activeAt: formatTime(alert.activeAtMs),
    ...(alert.keepFiringSinceMs === 0 ? {} : { keepFiringSince: formatTime(alert.keepFiringSinceMs) }),
    value: formatExponent(alert.value),
  };
}

async function answerAlerts(exchange: Exchange, deps: RulesApiDeps): Promise<ApiResult> {
  const groups = await askGroups(exchange, deps);
  const alerts = groups.flatMap((group) => group.rules.flatMap((rule) => rule.alerting?.alerts ?? []));
  return { data: { alerts: alerts.filter(isActive).map(alertJson) } };
}

async function answerAlertmanagers(exchange: Exchange, deps: RulesApiDeps): Promise<ApiResult> {
  const answers = await listing(deps.clock, exchange.signal, (context) =>
    Promise.all(deps.cluster.alertEvaluators().map(({ client }) => client.alertmanagers({}, context))),
  );
  const urls = (lists: readonly (readonly string[])[]) => [...new Set(lists.flat())].map((url) => ({ url }));
  return {
    data: {
      activeAlertmanagers: urls(answers.map(({ active }) => active)),
      droppedAlertmanagers: urls(answers.map(({ dropped }) => dropped)),
    },
  };
}
