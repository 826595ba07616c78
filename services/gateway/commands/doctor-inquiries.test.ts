import { expect, test } from 'vitest';
import type { ExaminedMember } from '../api/examine-api.ts';
import type { Examined, Finding } from './doctor-finding.ts';
import { INQUIRIES, reachSecondsOf } from './doctor-inquiries.ts';

const NOW_MS = Date.parse('2026-06-01T00:00:00Z');
const DAY_S = 86_400;

const BARE: Examined = {
  members: {
    ...{
      controlPlane: 'reachable',
      epoch: 4,
      partitions: 64,
      replicationFactor: 3,
      storeReplicationFactor: 2,
    },
    members: [],
  },
  moves: { replicationFactor: 2, missingBytes: 0, remainingSeconds: 0, stores: [] },
  flags: { 'storage.tsdb.retention.time': '15d' },
};

const inquire = (change: Partial<Examined>): Finding[] =>
  INQUIRIES.flatMap((inquiry) => inquiry({ ...BARE, ...change }, NOW_MS));

const server = (version: string, storage = 'file'): Partial<Examined> => ({
  members: { ...BARE.members, controlServer: { version, storage, replicas: 3 } },
});
const examined = (change: Partial<ExaminedMember>): Partial<Examined> => ({
  examination: {
    members: [
      {
        ...{ service: 'ingester', instance: 'i', obstacle: '', clockAheadSeconds: 0.4, metrics: [] },
        ...change,
      },
    ],
  },
});
const metric = (name: string, value: number, labels = {}) => examined({ metrics: [{ name, labels, value }] });
const expiry = (days: number, certificate = 'own') =>
  metric('tidemark_tls_certificate_expiry_timestamp_seconds', NOW_MS / 1000 + days * DAY_S, { certificate });
const target = (change: object): Partial<Examined> => ({
  targets: {
    activeTargets: [
      {
        scrapeUrl: 'http://t',
        health: 'up',
        lastError: '',
        lastScrapeDuration: 0.1,
        scrapeTimeout: '10s',
        ...change,
      },
    ],
  },
});
const rule = (query: string, type = 'recording') => ({
  groups: [{ name: 'g', rules: [{ type, name: 'r', query }] }],
});
const disk = (free: number, watermark: number) =>
  examined({
    metrics: [
      { name: 'tidemark_ingester_disk_free_bytes', labels: {}, value: free },
      { name: 'tidemark_ingester_disk_watermark_bytes', labels: {}, value: watermark },
    ],
  });
/** Samples every 15 s at these offsets, each some milliseconds late. */
const alternating = (...offsets: readonly number[]): [number, string][] =>
  Array.from({ length: 12 }, (_, i) => 15 * i)
    .flatMap((start) => offsets.map((offset) => start + offset + ((start + offset) % 7) / 100))
    .map((seconds) => [seconds, '1']);
const sampled = (values: [number, string][]) => ({ metric: { __name__: 'up', job: 'j' }, values });
const insecure = (grpcAddress: string): Partial<Examined> => ({
  flags: { 'cluster.insecure': 'true' },
  members: {
    ...BARE.members,
    members: [
      {
        ...{
          service: 'store',
          instance: 's',
          zone: '',
          version: '',
          state: 'ready',
          grpcAddress,
          httpAddress: '',
        },
        ...{ heartbeatAgeSeconds: 0, partitionsOwned: 0 },
      },
    ],
  },
});

test.each<[string, Partial<Examined>]>([
  ['a gateway of an earlier version', {}],
  ['a sound NATS', server('2.12.1')],
  ['a NATS that says no version', server('')],
  ['a member that is well', examined({})],
  ['a store: its clock is known more exactly', examined({ service: 'store', clockAheadSeconds: 60 })],
  ['a clock that is not known', examined({ clockAheadSeconds: null })],
  ['a certificate for long', expiry(15)],
  ['plaintext on loopback', insecure('127.0.0.1:9095')],
  ['a member that takes TLS alone', metric('tidemark_tls_transition', 0)],
  ['a target that is well', target({})],
  ['rules within the retention', { rules: rule('rate(x[14d] offset 1d)') }],
  [
    'alerting rules, and somebody who hears',
    { rules: rule('up', 'alerting'), alertmanagers: { activeAlertmanagers: [{ url: 'u' }] } },
  ],
  ['recording rules alone', { rules: rule('up'), alertmanagers: { activeAlertmanagers: [] } }],
  ['an Alertmanager that answers', metric('tidemark_notifications_failing', 0, { alertmanager: 'u' })],
  [
    'queries that were refused',
    metric('tidemark_gateway_http_requests_total', 4, { code: '429', method: 'GET', route: '/api/v1/query' }),
  ],
  ['a disk with room', disk(301, 100)],
  ['a target of one sender', { ups: { result: [sampled(alternating(0))] } }],
  ['one that missed a scrape', { ups: { result: [sampled(alternating(0).toSpliced(5, 1))] } }],
  ['few samples', { ups: { result: [sampled(alternating(0, 4).slice(0, 7))] } }],
])('nothing is wrong: %s', (_, change) => {
  expect(inquire(change)).toEqual([]);
});

test.each<[string, Partial<Examined>, 'error' | 'warning', RegExp, RegExp]>([
  ['an old NATS', server('2.9.9'), 'error', /NATS is 2\.9\.9, older/, /2\.12/],
  ['Debian’s NATS', server('2.9.10'), 'warning', /NATS is 2\.9\.10: buckets/, /2\.12/],
  ['a NATS in memory', server('2.12.0', 'memory'), 'warning', /in memory/, /store directory/],
  [
    'a member that cannot be asked',
    examined({ obstacle: 'its HTTP server, x:1, could not be asked: refused' }),
    'warning',
    /ingester i is a member, and its HTTP server, x:1/,
    /HTTP port/,
  ],
  [
    'a clock ahead',
    examined({ clockAheadSeconds: 3600.2 }),
    'error',
    /clock of ingester i is 3600 s ahead/,
    /NTP/,
  ],
  ['a clock behind', examined({ clockAheadSeconds: -7 }), 'error', /is 7 s behind/, /NTP/],
  [
    'a certificate that ends',
    expiry(13.9),
    'warning',
    /^the certificate of ingester i ends in 13 days/,
    /tls-cert-file/,
  ],
  ['a certificate that has ended', expiry(-0.5), 'error', /ended 1 days ago/, /tls-cert-file/],
  [
    'an authority that ends',
    expiry(2, 'authority'),
    'warning',
    /^an authority that is trusted by ingester i ends in 2 days/,
    /tls-ca-file/,
  ],
  [
    'files that cannot be used',
    metric('tidemark_tls_last_reload_successful', 0),
    'error',
    /cannot be used/,
    /log/,
  ],
  [
    'plaintext',
    insecure('10.0.0.1:9095'),
    'warning',
    /plaintext over a network \(store s\)/,
    /cluster\.insecure/,
  ],
  [
    'a cluster that changes to TLS',
    metric('tidemark_tls_transition', 1),
    'warning',
    /plaintext are accepted beside TLS by ingester i/,
    /without --cluster\.tls-transition/,
  ],
  [
    'nobody hears',
    { rules: rule('up', 'alerting'), alertmanagers: { activeAlertmanagers: [] } },
    'warning',
    /1 alerting rules .* nobody hears/,
    /alerting\.alertmanagers/,
  ],
  [
    'an Alertmanager out of reach',
    metric('tidemark_notifications_failing', 1, { alertmanager: 'http://a' }),
    'error',
    /could not be sent to http:\/\/a/,
    /evaluators/,
  ],
  [
    'a rule beyond the retention',
    { rules: rule('rate(x[14d] offset 2d)') },
    'warning',
    /\(15d\): r of group g/,
    /retention\.time/,
  ],
  [
    'a target that is down',
    target({ health: 'down', lastError: 'refused' }),
    'warning',
    /1 of 1 targets are down: http:\/\/t \(refused\)/,
    /explain target/,
  ],
  [
    'a target that is slow',
    target({ lastScrapeDuration: 8.5 }),
    'warning',
    /http:\/\/t \(8\.5 s of 10s\)/,
    /scrape_timeout/,
  ],
  [
    'writes that were refused',
    metric('tidemark_gateway_http_requests_total', 4, {
      code: '429',
      method: 'POST',
      route: '/api/v1/write',
    }),
    'warning',
    /4 writes were answered 429/,
    /retry_on_http_429/,
  ],
  [
    'an ingester near its watermark',
    disk(290, 100),
    'warning',
    /disk of ingester i has 290 B free; under 100 B it refuses writes/,
    /larger disk/,
  ],
  [
    'an ingester under its watermark',
    disk(90, 100),
    'error',
    /disk of ingester i has 90 B free, under the watermark of 100 B: it refuses writes/,
    /larger disk/,
  ],
  [
    'two senders of one target',
    { ups: { result: [sampled(alternating(0, 4)), sampled(alternating(0))] } },
    'warning',
    /^1 targets are sent by two senders who are not told apart, so their samples alternate: \{job="j"\}$/,
    /--query\.replica-labels/,
  ],
])('one thing is wrong, and only that is named: %s', (_, change, severity, problem, remedy) => {
  const findings = inquire(change);
  expect(findings).toHaveLength(1);
  expect(findings[0]).toMatchObject({ severity });
  expect(findings[0]!.problem).toMatch(problem);
  expect(findings[0]!.remedy).toMatch(remedy);
});

test('many names are cut short', () => {
  const one = target({ health: 'down', lastError: 'e' }).targets!.activeTargets[0]!;
  const [finding] = inquire({ targets: { activeTargets: Array.from({ length: 9 }, () => one) } });
  expect(finding!.problem).toMatch(/^9 of 9 targets are down: .* and 6 more$/);
});

test.each([
  ['up', 0],
  ['rate(x[5m])', 300],
  ['sum(rate(x[5m] offset 1h)) / sum(y offset 2h)', 7200],
  ['max_over_time(rate(x[5m])[1h:1m] offset 30m)', 5700],
  ['not a query(', 0],
])('how far a query looks back: %s', (query, seconds) => {
  expect(reachSecondsOf(query)).toBe(seconds);
});
