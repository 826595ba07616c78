// Metrics of what keeps replicas complete.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ReplicaRecord } from '../../lib/transport/control-plane.ts';

export interface ReplicationMetrics {
  /** Comparisons with other replicas. */
  readonly rounds: Counter;
  /** Fetches by `result`: done, failed. */
  readonly fetches: Counter<'result'>;
  readonly fetchedSamples: Counter;
  readonly fetchedBytes: Counter;
  readonly servedSamples: Counter;
  /** By `outcome`: complete, incomplete. */
  readonly proofs: Counter<'outcome'>;
  readonly proofSeconds: Histogram;
  /** Sections refused because their writer's placement is too old. */
  readonly staleSections: Counter;
}

export function createReplicationMetrics(
  registry: Registry,
  status: () => ReplicaRecord,
): ReplicationMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: (status: ReplicaRecord) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read(status()));
      },
    });
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  gauge(
    'tidemark_ingester_partitions',
    'Partitions that the placement gives to this ingester.',
    (s) => s.partitions,
  );
  gauge(
    'tidemark_ingester_complete_partitions',
    'Owned partitions of which this replica had every write when it last compared itself with the others.',
    (s) => s.complete,
  );
  gauge(
    'tidemark_ingester_lacking_writes',
    'Sections of writes that others hold and this replica lacks.',
    (s) => s.lackingWrites,
  );
  gauge(
    'tidemark_ingester_recovering',
    '1 while this replica has lost what it held and is not read before it has it back.',
    (s) => Number(s.recovering),
  );
  gauge('tidemark_ingester_leaving', '1 while it hands its partitions over to others.', (s) =>
    Number(s.leaving),
  );
  gauge(
    'tidemark_ingester_settled_epoch',
    'Newest placement by which it had everything it owns.',
    (s) => s.settledEpoch,
  );
  return {
    rounds: counter('tidemark_ingester_comparisons_total', 'Comparisons with other replicas.'),
    fetches: new Counter({
      name: 'tidemark_ingester_fetches_total',
      help: 'Fetches of writes from other replicas, by result.',
      labelNames: ['result'],
      registers,
    }),
    fetchedSamples: counter('tidemark_ingester_fetched_samples_total', 'Samples got from other replicas.'),
    fetchedBytes: counter(
      'tidemark_ingester_fetched_bytes_total',
      'Bytes of writes got from other replicas.',
    ),
    servedSamples: counter(
      'tidemark_ingester_served_samples_total',
      'Samples sent to replicas that lacked them.',
    ),
    proofs: new Counter({
      name: 'tidemark_ingester_completeness_proofs_total',
      help: 'Rounds in which owners were asked whether this replica has everything, by outcome.',
      labelNames: ['outcome'],
      registers,
    }),
    proofSeconds: new Histogram({
      name: 'tidemark_ingester_completeness_proof_seconds',
      help: 'Time of such a round.',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
      registers,
    }),
    staleSections: counter(
      'tidemark_ingester_stale_sections_total',
      'Sections refused because others own their partition since the placement that the writer knows.',
    ),
  };
}
