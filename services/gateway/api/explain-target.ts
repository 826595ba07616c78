// Why something is scraped or is not, from what the scrapers say of their targets: for each job that found it how far it came, through
// discovery, relabelling, the choice of a scraper and the scrape itself. What nobody found is explained by what does not work.

import type { ActiveTarget, DroppedTarget, RelabelStep } from '../../lib/wire/contracts.ts';
import {
  isNamed,
  MECHANISMS,
  type Mechanism,
  mechanismOf,
  mechanismThatFound,
} from './explain-mechanisms.ts';

/** What is asked for. */
export interface Subject {
  readonly kind: 'service' | 'pod' | 'node' | 'ingress' | 'monitor' | 'job' | 'discovered' | 'anything';
  /** Of `discovered`: by what kind of discovery. */
  readonly by?: Mechanism;
  /** Empty: in any. */
  readonly namespace: string;
  readonly name: string;
}

export interface ScraperTargets {
  readonly scraper: string;
  readonly active: readonly ActiveTarget[];
  readonly dropped: readonly DroppedTarget[];
  /** Per job, those that are not listed included. */
  readonly droppedCounts: Readonly<Record<string, number>>;
  readonly problems: readonly { readonly scrapePool: string; readonly problem: string }[];
}

export interface Stage {
  readonly stage: 'discovery' | 'relabel' | 'scraper' | 'scrape';
  readonly isPassed: boolean;
  readonly detail: string;
}

/** One target that a job found. */
export interface Candidate {
  readonly job: string;
  readonly address: string;
  readonly state: 'up' | 'down' | 'unknown' | 'dropped';
  readonly stages: readonly Stage[];
}

export interface Explanation {
  readonly subject: string;
  readonly summary: string;
  readonly isScraped: boolean;
  /** Those that are scraped first. */
  readonly candidates: readonly Candidate[];
  /** What does not work in discovery and may be why. */
  readonly problems: readonly string[];
  /** What to look at next. */
  readonly hints: readonly string[];
}

/** Steps of a job's relabelling for these labels; undefined when no scraper has the job any more. */
export type AskSteps = (
  job: string,
  labels: Readonly<Record<string, string>>,
) => Promise<readonly RelabelStep[] | undefined>;

const KINDS: Readonly<Record<string, Subject['kind']>> = {
  ...{ service: 'service', svc: 'service', endpoints: 'service', pod: 'pod', po: 'pod', node: 'node' },
  ...{ ingress: 'ingress', job: 'job', monitor: 'monitor', servicemonitor: 'monitor', podmonitor: 'monitor' },
  ...{ probe: 'monitor', scrapeconfig: 'monitor' },
};
/** Dropped targets whose relabelling is asked for: each is a call. */
const DROPPED_EXPLAINED_MAX = 20;
const CANDIDATES_MAX = 200;
const META = '__meta_kubernetes_';
/** Labels that say what a target is, where the name is all that is asked for. */
const NAME_LABELS = [
  ...[`${META}service_name`, `${META}pod_name`, `${META}node_name`, `${META}ingress_name`, `${META}pod_ip`],
  ...MECHANISMS.flatMap(({ names }) => names),
];

/** `service/shop/web`, `pod/web-1`, `servicemonitor/shop/web`, `consul/web`, `file/hosts.yml`, `shop/web`, `web`, `10.0.0.7:8080`. */
export function parseSubject(text: string): Subject {
  const [word, ...after] = text.split('/');
  const by = mechanismOf(word!);
  if (by !== undefined && after.length > 0)
    return { kind: 'discovered', by, namespace: '', name: after.join('/') };
  const parts = text.split('/').filter((part) => part !== '');
  const kind = parts.length > 1 ? KINDS[parts[0]!.toLowerCase()] : undefined;
  if (kind === 'job') return { kind, namespace: '', name: parts.slice(1).join('/') };
  const rest = kind === undefined ? parts : parts.slice(1);
  if (rest.length === 2) return { kind: kind ?? 'anything', namespace: rest[0]!, name: rest[1]! };
  return { kind: kind ?? 'anything', namespace: '', name: rest.length === 1 ? rest[0]! : text };
}

export async function explainTarget(
  subject: Subject,
  scrapers: readonly ScraperTargets[],
  askSteps: AskSteps,
): Promise<Explanation> {
  const active = scrapers.flatMap(({ scraper, active: targets }) =>
    targets
      .filter((target) => isMeant(subject, target.scrapePool, target.discoveredLabels, target.labels))
      .map((target) => activeCandidate(target, scraper)),
  );
  const dropped = droppedOf(subject, scrapers);
  const explained = await Promise.all(
    dropped.slice(0, DROPPED_EXPLAINED_MAX).map((target) => droppedCandidate(target, askSteps)),
  );
  const rest = dropped.slice(DROPPED_EXPLAINED_MAX, CANDIDATES_MAX).map((target) => withoutSteps(target));
  const isScraped = active.some(({ state }) => state === 'up');
  const candidates = [...active.slice(0, CANDIDATES_MAX), ...explained, ...rest];
  const problems = problemsOf(subject, scrapers, candidates);
  return {
    subject: nameOf(subject),
    summary: summaryOf(active, dropped.length, problems.length),
    isScraped,
    candidates,
    problems,
    hints: active.length > 0 ? [] : hintsOf(subject, scrapers, dropped.length),
  };
}

function nameOf({ kind, by, namespace, name }: Subject): string {
  if (by !== undefined) return `${by.word} ${name}`;
  const path = namespace === '' ? name : `${namespace}/${name}`;
  return kind === 'anything' ? path : `${kind} ${path}`;
}

function isMeant(
  { kind, by, namespace, name }: Subject,
  job: string,
  labels: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
): boolean {
  if (kind === 'job') return job === name;
  if (by !== undefined)
    return (
      isNamed(by, labels, name) ||
      (by.word === 'static' && own.instance === name && isNamed(by, labels, labels.__address__ ?? ''))
    );
  if (kind === 'monitor') return monitorOf(job, namespace, name);
  const inNamespace = namespace === '' || labels[`${META}namespace`] === namespace;
  if (kind !== 'anything') {
    const clusterWide = kind === 'node';
    return labels[`${META}${kind}_name`] === name && (clusterWide || inNamespace);
  }
  if (namespace === '') {
    const address = labels.__address__ ?? '';
    if (address === name || own.instance === name || hostOf(address) === name || job === name) return true;
  }
  if (monitorOf(job, namespace, name)) return true;
  if (!inNamespace) return false;
  return NAME_LABELS.some((label) => labels[label] === name || labels[label]?.endsWith(`/${name}`) === true);
}

/** Jobs of monitors are named `serviceMonitor/namespace/name/0`. */
function monitorOf(job: string, namespace: string, name: string): boolean {
  const parts = job.split('/');
  return (
    parts.length >= 3 &&
    /^(?:serviceMonitor|podMonitor|probe|scrapeConfig)$/.test(parts[0]!) &&
    (namespace === '' || parts[1] === namespace) &&
    parts[2] === name
  );
}

function hostOf(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

function activeCandidate(target: ActiveTarget, scraper: string): Candidate {
  const { discoveredLabels, labels, scrapePool: job, scrapeUrl, lastError, health } = target;
  const state = health === 'up' || health === 'down' ? health : 'unknown';
  const took = `${(target.lastScrapeDurationSeconds * 1000).toFixed(0)} ms`;
  const last = target.lastScrapeMs === 0 ? '' : ` at ${new Date(target.lastScrapeMs).toISOString()}`;
  const results = {
    up: `${target.lastSamplesScraped} samples${last} in ${took}, every ${target.scrapeInterval}`,
    down: `failed${last}: ${lastError}`,
    unknown: `not scraped yet; it will be within ${target.scrapeInterval}`,
  };
  return {
    job,
    address: discoveredLabels.__address__ ?? '',
    state,
    stages: [
      found(discoveredLabels),
      { stage: 'relabel', isPassed: true, detail: `kept as ${showLabels(labels)}` },
      { stage: 'scraper', isPassed: true, detail: `${scraper} scrapes ${scrapeUrl}` },
      { stage: 'scrape', isPassed: state !== 'down', detail: results[state] },
    ],
  };
}

function found(labels: Readonly<Record<string, string>>): Stage {
  const parts = ['service', 'pod', 'node', 'ingress'].flatMap((kind) => {
    const name = labels[`${META}${kind}_name`];
    const namespace = kind === 'node' ? undefined : labels[`${META}namespace`];
    return name === undefined ? [] : [`${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`];
  });
  const ready = labels[`${META}endpoint_ready`] ?? labels[`${META}endpointslice_endpoint_conditions_ready`];
  if (ready !== undefined) parts.push(ready === 'true' ? 'ready' : 'not ready');
  const by = mechanismThatFound(labels);
  if (by !== undefined) {
    const told = by.told.filter(([, label]) => labels[label] !== undefined);
    parts.push(by.section, ...told.map(([word, label]) => `${word} ${labels[label]}`));
  }
  const what = parts.length === 0 ? '' : ` (${parts.join(', ')})`;
  return { stage: 'discovery', isPassed: true, detail: `found at ${labels.__address__ ?? '?'}${what}` };
}

/** Every scraper lists what is dropped: each once. */
function droppedOf(subject: Subject, scrapers: readonly ScraperTargets[]): readonly DroppedTarget[] {
  const unique = new Map<string, DroppedTarget>();
  for (const { dropped } of scrapers) {
    for (const target of dropped) {
      if (!isMeant(subject, target.scrapePool, target.discoveredLabels, {})) continue;
      const pairs = Object.entries(target.discoveredLabels).toSorted(([a], [b]) => (a < b ? -1 : 1));
      unique.set(JSON.stringify([target.scrapePool, pairs]), target);
    }
  }
  return [...unique.values()];
}

async function droppedCandidate(target: DroppedTarget, askSteps: AskSteps): Promise<Candidate> {
  const steps = await askSteps(target.scrapePool, target.discoveredLabels);
  const at = steps?.findIndex(({ keep }) => !keep) ?? -1;
  if (steps === undefined || at < 0) return withoutSteps(target);
  const before = at === 0 ? target.discoveredLabels : steps[at - 1]!.output;
  const detail = `step ${at + 1} of ${steps.length} drops it: ${describeStep(steps[at]!, before, target.scrapePool)}`;
  return {
    ...withoutSteps(target),
    stages: [found(target.discoveredLabels), { stage: 'relabel', isPassed: false, detail }],
  };
}

function withoutSteps(target: DroppedTarget): Candidate {
  return {
    job: target.scrapePool,
    address: target.discoveredLabels.__address__ ?? '',
    state: 'dropped',
    stages: [
      found(target.discoveredLabels),
      { stage: 'relabel', isPassed: false, detail: 'relabel_configs drop it' },
    ],
  };
}

function describeStep({ rule }: RelabelStep, before: Readonly<Record<string, string>>, job: string): string {
  const { sourceLabels, separator, regex, action, targetLabel } = rule!;
  const value = JSON.stringify(sourceLabels.map((name) => before[name] ?? '').join(separator));
  const from = `${sourceLabels.join(`, `)} = ${value}`;
  const selects = sourceLabels.every((name) => /^__meta_kubernetes_(?:service|pod)_label/.test(name));
  const isSelector = selects && /^(?:serviceMonitor|podMonitor)\//.test(job);
  const whose = isSelector ? ' (the selector of the monitor)' : '';
  if (action === 'keep') return `keep wants ${regex}, but ${from}${whose}`;
  if (action === 'drop') return `drop of ${regex}, and ${from}`;
  return `${action} of ${from} with ${targetLabel}${regex === '' ? '' : ` (${regex})`}`;
}

function summaryOf(active: readonly Candidate[], dropped: number, problems: number): string {
  const up = active.filter(({ state }) => state === 'up').length;
  const down = active.filter(({ state }) => state === 'down').length;
  if (active.length === 0 && dropped === 0)
    return problems > 0
      ? 'not scraped: no job finds it, and discovery has problems'
      : 'not scraped: no job finds it';
  if (active.length === 0)
    return `not scraped: found ${times(dropped)}, and dropped by relabelling each time`;
  if (up === active.length) return `scraped: ${up === 1 ? 'one target' : `${up} targets`}, up`;
  return `${active.length === 1 ? 'one target' : `${active.length} targets`}: ${up} up, ${down} down, ${active.length - up - down} not scraped yet`;
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** Of the jobs that found it, and of all where none did: a discovery that fails finds nothing. */
function problemsOf(
  subject: Subject,
  scrapers: readonly ScraperTargets[],
  candidates: readonly Candidate[],
): string[] {
  const jobs = new Set(candidates.map(({ job }) => job));
  const isFound = candidates.some(({ state }) => state !== 'dropped');
  const problems = scrapers
    .flatMap(({ problems: all }) => all)
    .filter(({ scrapePool, problem }) => {
      if (!isFound || jobs.has(scrapePool)) return true;
      return subject.kind === 'monitor' && problem.includes(subject.name);
    });
  return [...new Set(problems.map(({ scrapePool, problem }) => `${scrapePool}: ${problem}`))];
}

function hintsOf(subject: Subject, scrapers: readonly ScraperTargets[], dropped: number): string[] {
  if (scrapers.length === 0) return ['no scraper is reachable: start one, or wait until one has joined'];
  const { kind, namespace, name } = subject;
  const where = namespace === '' ? '' : ` -n ${namespace}`;
  const hints: string[] = [];
  const jobs = new Set(scrapers.flatMap(({ droppedCounts }) => Object.keys(droppedCounts)));
  if (dropped === 0) {
    if (kind === 'service') {
      hints.push(
        `a Service has targets by its endpoints; without ready pods that its selector matches it has none: kubectl get endpoints ${name}${where}`,
      );
    }
    if (kind === 'pod') {
      hints.push(
        `a pod without an address, or that has ended, is no target: kubectl get pod ${name}${where} -o wide`,
      );
    }
    if (kind === 'monitor' && ![...jobs].some((job) => monitorOf(job, namespace, name))) {
      hints.push(
        'there is no job of such a monitor: it does not exist, its labels or its namespace are not among those that tidemark.kubernetes_monitors selects, or that section is missing',
      );
    } else if (kind === 'monitor') {
      hints.push(
        'the job of the monitor is there and finds nothing: in the namespaces that it selects is no Service or pod',
      );
    }
    if (kind === 'job' && !jobs.has(name))
      hints.push(`no scraper has a job of that name; there are ${jobs.size}: see /api/v1/scrape_pools`);
    if (subject.by !== undefined) hints.push(...subject.by.hints);
    else hints.push(...generalHints(kind));
  }
  for (const job of jobs) {
    const hidden = Math.max(
      ...scrapers.map(
        (each) =>
          (each.droppedCounts[job] ?? 0) - each.dropped.filter(({ scrapePool }) => scrapePool === job).length,
      ),
    );
    if (hidden > 0)
      hints.push(
        `job ${job} drops ${hidden} targets more than it keeps the labels of (keep_dropped_targets): it may be among them`,
      );
  }
  return hints;
}

/** Where nobody said by what kind of discovery it should be found. */
function generalHints(kind: Subject['kind']): string[] {
  const kubernetes =
    'the namespace, role and selectors of the jobs decide what is looked at: compare kubernetes_sd_configs';
  if (kind !== 'anything') return [kubernetes];
  const words = MECHANISMS.map(({ word }) => `${word}/…`).join(', ');
  return [kubernetes, `of other kinds of discovery more can be said: ask for ${words}`];
}

function showLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${pairs.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}}`;
}
