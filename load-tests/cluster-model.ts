// A model of large clusters: placement, movement, control-plane traffic, the width of a write and of a query, computed with the services'
// own code where there is any, and by arithmetic where there is not. It says what breaks first.
import { assignPartitions, type OwnerMember } from '../services/lib/placement/assignment.ts';
import { computePlacement } from '../services/lib/placement/placement.ts';
import { withSlots } from '../services/lib/placement/store-slots.ts';
import type { MemberRecord, PlacementRecord } from '../services/lib/transport/control-plane.ts';
import { ownersOf, ownerTableOf } from '../services/lib/transport/members/owner-table.ts';
import { IngesterDefinition } from '../services/lib/wire/contracts.ts';
import { findGaps, type SourceAnswer } from '../services/querier/selection/coverage.ts';
import { positive, readFlags } from './command-line.ts';

const USAGE = `A model of large clusters: placement, movement, control-plane traffic, width of writes and queries.

usage: node load-tests/cluster-model.ts [flags]

  --ingesters A,B  sizes                                          3,30,100,300,1000
  --series N       active series per ingester before replication  1000000
`;

const flags = readFlags(USAGE, {
  ingesters: { type: 'string', default: '3,30,100,300,1000' },
  series: { type: 'string', default: '1000000' },
});
const sizes = flags.ingesters.split(',').map((size) => positive('ingesters', size));
const seriesPerIngester = positive('series', flags.series);

const FACTOR = 3;
const HEARTBEAT_SECONDS = 1;
const REQUEST_SAMPLES = 2_000;
const INTERVAL_SECONDS = 15;
/** NATS refuses larger values unless its configuration says otherwise (max_payload). */
const NATS_PAYLOAD_BYTES = 1 << 20;
/** Measured: `load-tests/cluster-bench.ts`, `services/ingester/churn.bench.ts`; README.md at the root. */
const WIRE_BYTES_PER_SAMPLE = 5;
const MEMORY_BYTES_PER_SERIES = 1_400;

/** Partitions of a cluster of that size: at least eight per ingester and copy, a power of two, never fewer than the default. */
const partitionsFor = (count: number): number => Math.max(64, 2 ** Math.ceil(Math.log2(8 * count)));

const ingestersOf = (count: number): OwnerMember[] =>
  Array.from({ length: count }, (_, i) => ({
    instance: `tidemark-ingester-zone-${'abc'[i % 3]}-${Math.floor(i / 3)}`,
    zone: `eu-central-1${'abc'[i % 3]}`,
  }));

function timed<T>(work: () => T): { readonly value: T; readonly ms: number } {
  const startedMs = performance.now();
  const value = work();
  return { value, ms: performance.now() - startedMs };
}

function movedBetween(before: readonly string[][], after: readonly string[][]): number {
  let moved = 0;
  for (const [partition, owners] of after.entries())
    for (const owner of owners) if (!before[partition]!.includes(owner)) moved++;
  return moved;
}

/** (most − least) / mean of partitions per ingester. */
function skewOf(owners: readonly string[][]): number {
  const counts = new Map<string, number>();
  for (const owner of owners.flat()) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  const values = [...counts.values()];
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  return (Math.max(...values) - Math.min(...values)) / mean;
}

function placementRecord(members: readonly OwnerMember[], owners: readonly string[][]): PlacementRecord {
  const stores = Array.from({ length: Math.ceil(members.length / 5) }, (_, i) => ({
    instance: `tidemark-store-${i}`,
    zone: `eu-central-1${'abc'[i % 3]}`,
  }));
  return {
    ...{ epoch: 1234, partitionCount: owners.length, replicationFactor: FACTOR, ingesters: members },
    ...{ owners: ownerTableOf(owners, members), former: [], storeReplicationFactor: 2 },
    stores: withSlots(stores, 2),
  };
}

function memberRecord({ instance, zone }: OwnerMember, partitions: number): MemberRecord {
  const address = `${instance}.tidemark-ingester.monitoring.svc.cluster.local`;
  return {
    ...{ service: 'ingester', instance, zone, version: '0.1.0', startedAtMs: 1_767_225_600_000 },
    ...{ grpcAddress: `${address}:9095`, httpAddress: `${address}:9090`, state: 'ready' },
    replica: {
      ...{ settledEpoch: 1234, partitions, complete: partitions, recovering: false, leaving: false },
      ...{ lackingWrites: 0, fetchedSamples: 1_234_567, progress: 1, remainingSeconds: 0 },
    },
  };
}

/** What all ingesters answer to a select: which partitions they account for. */
function answersOf(members: readonly OwnerMember[], owners: readonly string[][]): SourceAnswer[] {
  const owned = new Map<string, number[]>();
  for (const [partition, each] of owners.entries())
    for (const owner of each) owned.set(owner, [...(owned.get(owner) ?? []), partition]);
  return members.map(({ instance }) => ({
    ...{ kind: 'ingester', instance, failure: undefined },
    coverage: {
      partitions: (owned.get(instance) ?? []).map((partition) => ({
        ...{ partition, minTimeMs: 1_767_225_600_000, maxTimeMs: 1_767_225_900_000, complete: true },
      })),
    },
  }));
}

/** Distinct values among `draws` of `of` equally likely ones. */
const distinct = (draws: number, of: number): number => of * (1 - (1 - 1 / of) ** draws);

interface Row {
  readonly name: string;
  readonly values: (string | number)[];
}

function modelOf(count: number): [name: string, value: string][] {
  const partitionCount = partitionsFor(count);
  const members = ingestersOf(count);
  const options = { partitionCount, replicationFactor: FACTOR };
  const fresh = timed(() => assignPartitions(members, [], options));
  const joined = timed(() => assignPartitions(ingestersOf(count + 1), fresh.value, options));
  const left = timed(() => assignPartitions(members.slice(0, -1), fresh.value, options));
  const moved = movedBetween(fresh.value, joined.value);
  const optimum = (FACTOR * partitionCount) / (count + 1);

  const record = placementRecord(members, fresh.value);
  const recordText = JSON.stringify(record);
  const former = { ingesters: members, owners: record.owners, epoch: 1233, untilMs: 1_767_225_600_000 };
  const formerBytes = JSON.stringify(former).length;
  const formerMax = Math.floor((NATS_PAYLOAD_BYTES - recordText.length) / formerBytes);
  const parsed = timed(() => ownersOf(JSON.parse(recordText) as PlacementRecord, record));

  // One store for five ingesters, one querier and one gateway for ten, one scraper for ten, two evaluators.
  const processes = count + Math.ceil(count / 5) + 3 * Math.ceil(count / 10) + 2;
  const beatBytes = JSON.stringify(memberRecord(members[0]!, partitionCount)).length;
  const deliveries = (processes * processes) / HEARTBEAT_SECONDS;

  const answers = answersOf(members, fresh.value);
  const placement = { epoch: 1234, partitionCount, replicas: fresh.value };
  const gaps = timed(() => findGaps(answers, placement, FACTOR, { instances: [], replicationFactor: 2 }));
  if (gaps.value.length > 0) throw new Error(`the model has gaps: ${gaps.value.join()}`);
  const last = { frame: new Uint8Array(0), coverage: answers[0]!.coverage };
  const coverageBytes = IngesterDefinition.methods.select.responseType.encode(last).finish().length;
  const hashed = timed(() => computePlacement(members, { epoch: 1, partitionCount, replicationFactor: 3 }));

  const touched = distinct(REQUEST_SAMPLES, partitionCount);
  const reached = distinct(touched * FACTOR, count);
  const series = seriesPerIngester * count;
  const samplesPerSecond = series / INTERVAL_SECONDS;
  return [
    ['series, before replication', `${series / 1e6} M`],
    ['samples per second', `${(samplesPerSecond / 1e6).toFixed(2)} M`],
    ['memory per ingester, GB', ((seriesPerIngester * FACTOR * MEMORY_BYTES_PER_SERIES) / 1e9).toFixed(1)],
    [
      'append bytes in, MB/s and ingester',
      ((samplesPerSecond * FACTOR * WIRE_BYTES_PER_SAMPLE) / count / 1e6).toFixed(1),
    ],
    ['partitions', `${partitionCount}`],
    ['skew of partitions', `${(100 * skewOf(fresh.value)).toFixed(1)} %`],
    ['owners computed anew, ms', fresh.ms.toFixed(0)],
    ['one joins, ms', joined.ms.toFixed(0)],
    ['one leaves, ms', left.ms.toFixed(0)],
    ['moved when one joins / optimum', `${moved} / ${optimum.toFixed(1)}`],
    [
      'series that move then',
      `${((moved / (FACTOR * partitionCount)) * series * FACTOR * 1e-6).toFixed(2)} M`,
    ],
    ['placement record, KB', (recordText.length / 1024).toFixed(0)],
    ['former owners that fit 1 MiB beside it', `${Math.min(16, formerMax)}`],
    ['record read, ms', parsed.ms.toFixed(1)],
    ['owners by hash alone, ms', hashed.ms.toFixed(0)],
    ['processes', `${processes}`],
    ['heartbeats to NATS, /s', `${processes / HEARTBEAT_SECONDS}`],
    ['heartbeats from NATS, /s', `${deliveries}`],
    ['… MB/s', ((deliveries * (beatBytes + 120)) / 1e6).toFixed(1)],
    ['write of 2,000 samples: partitions', touched.toFixed(0)],
    ['… ingesters reached', reached.toFixed(0)],
    ['… samples per message', ((REQUEST_SAMPLES * FACTOR) / reached).toFixed(1)],
    ['query: ingesters asked', `${count}`],
    ['… coverage in, KB', ((coverageBytes * count) / 1024).toFixed(0)],
    ['… proof of completeness, ms', gaps.ms.toFixed(1)],
  ];
}

const columns = sizes.map((count) => {
  process.stderr.write(`${count} ingesters …\n`);
  return modelOf(count);
});
const rows: Row[] = columns[0]!.map(([name], i) => ({
  name,
  values: columns.map((column) => column[i]![1]),
}));
process.stdout.write(`| ingesters | ${sizes.join(' | ')} |\n|---|${sizes.map(() => '---|').join('')}\n`);
for (const { name, values } of rows) process.stdout.write(`| ${name} | ${values.join(' | ')} |\n`);
