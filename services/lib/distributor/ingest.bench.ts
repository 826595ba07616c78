// Decompress, parse, hash, look up and split: what remote write costs before the network and the disk. Replays a file of
// ../shared/bench/gen.mjs into an ingester that acknowledges and keeps nothing.
// usage: node services/lib/distributor/ingest.bench.ts FILE [rounds]
import { readFileSync } from 'node:fs';
import { Registry } from 'prom-client';
import { systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { computePlacement } from '../placement/placement.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import type { Cluster } from '../transport/cluster.ts';
import { createInProcessClient } from '../transport/in-process.ts';
import type { Handlers } from '../transport/rpc.ts';
import { AppendOutcome, IngesterDefinition } from '../wire/contracts.ts';
import { RemoteWriteColumns } from '../wire/remote-write/remote-write-columns.ts';
import { RemoteWriteDecoder } from '../wire/remote-write/remote-write-decoder.ts';
import { createDistributor } from './distributor.ts';

/** Acknowledges everything, keeps nothing. */
const nullIngester = {
  async *append(requests) {
    for await (const request of requests) {
      yield {
        sequence: request.sequence,
        outcome: AppendOutcome.APPEND_OUTCOME_DURABLE,
        failedPartitions: [],
        message: '',
      };
    }
  },
} as Pick<Handlers<typeof IngesterDefinition>, 'append'> as Handlers<typeof IngesterDefinition>;

function readBodies(file: string): Buffer[] {
  const replay = readFileSync(file);
  const bodies: Buffer[] = [];
  for (let at = 0; at < replay.length; ) {
    const bytes = replay.readUInt32LE(at);
    bodies.push(replay.subarray(at + 4, at + 4 + bytes));
    at += 4 + bytes;
  }
  return bodies;
}

function createCluster(): Cluster {
  const placement = computePlacement([{ instance: 'null', zone: '' }], {
    epoch: 1,
    partitionCount: 64,
    replicationFactor: 1,
  });
  const peers = [{ instance: 'null', client: createInProcessClient(IngesterDefinition, nullIngester) }];
  return {
    placement: () => placement,
    replicationFactor: 1,
    ingesters: () => peers,
    stores: () => [],
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
}

const [file, rounds = '6'] = process.argv.slice(2);
if (file === undefined) throw new AppError('bad_data', 'usage: ingest.bench.ts FILE [rounds]');
const bodies = readBodies(file);
const distributor = createDistributor(
  { outOfOrderWindowMs: 365 * 86_400_000 },
  {
    cluster: createCluster(),
    clock: systemClock,
    logger: createSilentLogger(),
    registry: new Registry(),
  },
);
const appender = distributor.appender('anonymous');
const decoder = new RemoteWriteDecoder(
  { cachedSeriesMax: 4_000_000, cachedMetricsMax: 1000, hashSeed: 1, metadataResendMs: 600_000 },
  { resolver: appender },
);
const columns = new RemoteWriteColumns();
const { signal } = new AbortController();
for (let round = 0; round < Number(rounds); round++) {
  const before = process.cpuUsage();
  let samples = 0;
  for (const body of bodies) {
    const decoded = decoder.decodeSnappy(1, body, columns, systemClock.nowMs());
    const outcome = await appender.write(columns, decoded.metadata, signal);
    if (outcome.written !== decoded.samples) {
      throw new Error(`${outcome.written} of ${decoded.samples} written: ${outcome.firstRejection}`);
    }
    samples += outcome.written;
  }
  const used = process.cpuUsage(before);
  const seconds = (used.user + used.system) / 1e6;
  console.log(
    JSON.stringify({ round, samples, cpu_s: seconds, samples_per_cpu_s: Math.round(samples / seconds) }),
  );
}
await distributor.stop();
