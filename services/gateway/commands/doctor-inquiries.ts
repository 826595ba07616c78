// What `tidemark doctor` looks for beyond members and stores: NATS itself, every member's clock and certificate, Alertmanagers, rules against the
// retention, scrape targets, senders that were refused. Each of these inquiries may be missing, where a gateway of an earlier version has no answer.

import type { DurationExpr, Expr } from '../../lib/promql/ast.ts';
import { visitExpr } from '../../lib/promql/engine/expressions.ts';
import { DEFAULT_FEATURES } from '../../lib/promql/features.ts';
import { parseExpr } from '../../lib/promql/parse/parser.ts';
import { isLoopback } from '../../lib/transport/tls/cluster-security.ts';
import type { ExaminedMember, MetricValue } from '../api/examine-api.ts';
import {
  type Examined,
  error,
  type Finding,
  parseSeconds,
  SKEW_SECONDS_MAX,
  warning,
} from './doctor-finding.ts';
import { inquireIngesterDisks, inquireTwins } from './doctor-senders.ts';

/** JetStream's key-value buckets as we use them; below, leases may not move. */
const NATS_VERSION_MIN = [2, 9, 10] as const;
/** What it is tested with in production: expiry and replication of buckets had faults before. */
const NATS_VERSION_ADVISED = [2, 12, 0] as const;
/** Certificates that end within this are renewed by now, where something renews them. */
const CERTIFICATE_DAYS_MIN = 14;
/** Part of its time-out that a scrape may take before it is likely to fail soon. */
const SLOW_SCRAPE_SHARE = 0.8;
/** Names in one finding. */
const NAMED_MAX = 3;
const DAY_MS = 86_400_000;

type Inquiry = (examined: Examined, nowMs: number) => Finding[];

/** `a, b, c and 4 more`. */
function list(names: readonly string[]): string {
  const named = names.slice(0, NAMED_MAX).join(', ');
  return names.length > NAMED_MAX ? `${named} and ${names.length - NAMED_MAX} more` : named;
}

function isBelow(version: string, least: readonly number[]): boolean {
  const parts = /^(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
  if (parts === undefined) return false;
  const differing = parts.findIndex((part, i) => part !== least[i]);
  return differing >= 0 && parts[differing]! < least[differing]!;
}

function inquireNats({ members }: Examined): Finding[] {
  const server = members.controlServer;
  if (server === undefined) return [];
  const { version, storage, replicas } = server;
  const findings: Finding[] = [];
  if (isBelow(version, NATS_VERSION_MIN))
    findings.push(
      error(`NATS is ${version}, older than what the control plane needs`, 'upgrade NATS to 2.12 or newer'),
    );
  else if (replicas > 1 && isBelow(version, NATS_VERSION_ADVISED))
    findings.push(
      warning(
        `NATS is ${version}: buckets with several copies had faults before 2.12`,
        'upgrade NATS to 2.12 or newer',
      ),
    );
  if (storage === 'memory')
    findings.push(
      warning(
        'NATS keeps the control data in memory: after each restart it is gone until members say it again',
        'give NATS a store directory on a disk, remove the bucket, and let members make it anew',
      ),
    );
  return findings;
}

function inquireMembers({ examination }: Examined, nowMs: number): Finding[] {
  if (examination === undefined) return [];
  return examination.members.flatMap((member) => [
    ...obstacleOf(member),
    ...clockOf(member),
    ...certificatesOf(member, nowMs),
  ]);
}

function obstacleOf({ service, instance, obstacle }: ExaminedMember): Finding[] {
  if (obstacle === '') return [];
  return [
    warning(
      `${service} ${instance} is a member, and ${obstacle}`,
      'let the gateway reach the HTTP port of every member; if it should, look at that process',
    ),
  ];
}

/** Of stores the difference is known more exactly, and found elsewhere. */
function clockOf({ service, instance, clockAheadSeconds: ahead }: ExaminedMember): Finding[] {
  if (ahead === null || service === 'store' || Math.abs(ahead) <= SKEW_SECONDS_MAX) return [];
  return [
    error(
      `the clock of ${service} ${instance} is ${Math.abs(ahead).toFixed(0)} s ${ahead > 0 ? 'ahead of' : 'behind'} this gateway's`,
      'let NTP or chrony keep the clocks of all machines',
    ),
  ];
}

function certificatesOf({ service, instance, metrics }: ExaminedMember, nowMs: number): Finding[] {
  const findings: Finding[] = [];
  for (const { labels, value } of named(metrics, 'tls_certificate_expiry_timestamp_seconds')) {
    const days = (value * 1000 - nowMs) / DAY_MS;
    if (days >= CERTIFICATE_DAYS_MIN) continue;
    const what = labels.certificate === 'own' ? 'the certificate' : 'an authority that is trusted by';
    const when = days < 0 ? `ended ${Math.ceil(-days)} days ago` : `ends in ${Math.floor(days)} days`;
    findings.push(
      (days < 1 ? error : warning)(
        `${what} ${labels.certificate === 'own' ? 'of ' : ''}${service} ${instance} ${when}`,
        'replace the files of --cluster.tls-cert-file, --cluster.tls-key-file and --cluster.tls-ca-file; they are read again by themselves',
      ),
    );
  }
  for (const { value } of named(metrics, 'tls_last_reload_successful'))
    if (value === 0)
      findings.push(
        error(
          `the certificate files of ${service} ${instance} have changed and cannot be used; those before are in use`,
          'look at its log, which names the file and the reason',
        ),
      );
  return findings;
}

/** @param name  Without what all names begin with. */
const named = (metrics: readonly MetricValue[], name: string): MetricValue[] =>
  metrics.filter((metric) => metric.name === `tidemark_${name}`);

function inquirePlaintext({ members, flags }: Examined): Finding[] {
  if (flags['cluster.insecure'] !== 'true') return [];
  const open = members.members.filter(({ grpcAddress }) => grpcAddress !== '' && !isLoopback(grpcAddress));
  if (open.length === 0) return [];
  return [
    warning(
      `services call each other in plaintext over a network (${list(open.map(({ service, instance }) => `${service} ${instance}`))})`,
      'give all of them --cluster.tls-cert-file, --cluster.tls-key-file and --cluster.tls-ca-file instead of --cluster.insecure',
    ),
  ];
}

/** Of services that change from plaintext to TLS. */
function inquireTransition({ examination }: Examined): Finding[] {
  const open = (examination?.members ?? []).filter(({ metrics }) =>
    named(metrics, 'tls_transition').some(({ value }) => value === 1),
  );
  if (open.length === 0) return [];
  return [
    warning(
      `connections in plaintext are accepted beside TLS by ${list(open.map(({ service, instance }) => `${service} ${instance}`))}`,
      'once all services have certificates, restart them without --cluster.tls-transition',
    ),
  ];
}

function inquireAlertmanagers({ rules, alertmanagers, examination }: Examined): Finding[] {
  const findings: Finding[] = [];
  const alerting = (rules?.groups ?? [])
    .flatMap((group) => group.rules)
    .filter(({ type }) => type === 'alerting');
  if (alerting.length > 0 && alertmanagers?.activeAlertmanagers.length === 0)
    findings.push(
      warning(
        `${alerting.length} alerting rules are evaluated, and no Alertmanager is known: nobody hears of their alerts`,
        'name one under alerting.alertmanagers in the configuration file; if it is discovered, look at what was found',
      ),
    );
  const failing = (examination?.members ?? []).flatMap(({ metrics }) =>
    named(metrics, 'notifications_failing'),
  );
  const urls = new Set(
    failing.filter(({ value }) => value === 1).map(({ labels }) => labels.alertmanager ?? ''),
  );
  if (urls.size > 0)
    findings.push(
      error(
        `the last alerts could not be sent to ${list([...urls].sort())}`,
        'see that it runs and can be reached from the alert evaluators; their log has the reason',
      ),
    );
  return findings;
}

function inquireRules({ rules, flags }: Examined): Finding[] {
  const retention = parseSeconds(flags['storage.tsdb.retention.time']);
  if (rules === undefined || retention === undefined || retention === 0) return [];
  const long = rules.groups.flatMap(({ name, rules: own }) =>
    own
      .filter(({ query }) => reachSecondsOf(query) > retention)
      .map((rule) => `${rule.name} of group ${name}`),
  );
  if (long.length === 0) return [];
  return [
    warning(
      `rules look back further than samples are kept (${flags['storage.tsdb.retention.time']}): ${list(long)}`,
      'raise --storage.tsdb.retention.time on all services, or shorten their ranges and offsets',
    ),
  ];
}

/** How far a query looks back; 0 for what does not parse, which the evaluator complains about. */
export function reachSecondsOf(query: string): number {
  try {
    return reachMs(parseExpr(query, DEFAULT_FEATURES)) / 1000;
  } catch {
    return 0;
  }
}

function reachMs(expr: Expr): number {
  let longest = 0;
  visitExpr(expr, (node) => {
    if (node.kind === 'vector-selector') longest = Math.max(longest, literalMs(node.offset));
    if (node.kind !== 'matrix-selector' && node.kind !== 'subquery') return undefined;
    const below =
      node.kind === 'subquery' ? literalMs(node.offset) + reachMs(node.expr) : literalMs(node.vector.offset);
    longest = Math.max(longest, literalMs(node.range) + below);
    return 'skip';
  });
  return longest;
}

/** What is worked out when the query runs counts as nothing. */
function literalMs(duration: DurationExpr | undefined): number {
  return duration?.kind === 'literal' ? duration.durationMs : 0;
}

function inquireTargets({ targets }: Examined): Finding[] {
  const active = targets?.activeTargets ?? [];
  const findings: Finding[] = [];
  const down = active.filter(({ health }) => health === 'down');
  if (down.length > 0)
    findings.push(
      warning(
        `${down.length} of ${active.length} targets are down: ${list(down.map(({ scrapeUrl, lastError }) => `${scrapeUrl} (${lastError})`))}`,
        'see that they run and can be reached from the scrapers; `tidemark explain target` says how one came to be',
      ),
    );
  const slow = active.filter(({ health, lastScrapeDuration, scrapeTimeout }) => {
    const timeout = parseSeconds(scrapeTimeout);
    return health === 'up' && timeout !== undefined && lastScrapeDuration > SLOW_SCRAPE_SHARE * timeout;
  });
  if (slow.length > 0)
    findings.push(
      warning(
        `${slow.length} targets take nearly as long as their scrape_timeout: ${list(slow.map(({ scrapeUrl, lastScrapeDuration, scrapeTimeout }) => `${scrapeUrl} (${lastScrapeDuration.toFixed(1)} s of ${scrapeTimeout})`))}`,
        'raise scrape_timeout of their jobs, or let them expose less',
      ),
    );
  return findings;
}

function inquireSenders({ examination }: Examined): Finding[] {
  const requests = (examination?.members ?? []).flatMap(({ metrics }) =>
    named(metrics, 'gateway_http_requests_total'),
  );
  const refused = requests
    .filter(
      ({ labels }) =>
        labels.code === '429' &&
        labels.method === 'POST' &&
        /write|push|import|otlp/.test(labels.route ?? ''),
    )
    .reduce((sum, { value }) => sum + value, 0);
  if (refused === 0) return [];
  return [
    warning(
      `${refused} writes were answered 429 since the gateways started: tenants were over their quota, and Prometheus drops what is refused so`,
      "raise the tenant's limits, send less, or set queue_config.retry_on_http_429 in the senders' remote_write",
    ),
  ];
}

export const INQUIRIES: readonly Inquiry[] = [
  ...[inquireNats, inquireMembers, inquirePlaintext, inquireTransition, inquireAlertmanagers],
  ...[inquireRules, inquireTargets, inquireSenders, inquireIngesterDisks, inquireTwins],
];
