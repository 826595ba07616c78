// What one ingester of a cluster of processes answers by itself: its samples of the load, and whether it says that nothing is missing.
import { systemClock } from '../../services/lib/core/clock.ts';
import { decodeLabels } from '../../services/lib/model/labels.ts';
import { SampleColumns } from '../../services/lib/model/sample-columns.ts';
import { DEFAULT_TENANT } from '../../services/lib/model/tenant.ts';
import { connectGrpc } from '../../services/lib/transport/grpc/grpc-client.ts';
import { decodeChunk } from '../../services/lib/tsdb/chunk/decode-chunk.ts';
import { IngesterDefinition } from '../../services/lib/wire/contracts.ts';
import { readSeriesFrame } from '../../services/lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../../services/lib/wire/matchers.ts';
import { type AcknowledgedWrite, LOAD_SERIES, valueAt } from './cluster-load.ts';

const TIMEOUT_MS = 60_000;

export interface OwnAnswer {
  /** Partitions for which it says that its answer needs no other's. */
  readonly complete: readonly number[];
  /** `series time` → value. */
  readonly samples: ReadonlyMap<string, number>;
}

/** @throws AppError as the ingester answers. */
export async function askAlone(grpcAddress: string, metric = 'load'): Promise<OwnAnswer> {
  const connection = connectGrpc(IngesterDefinition, { address: grpcAddress, unaryTimeoutMs: TIMEOUT_MS });
  const over = new AbortController();
  const limit = systemClock.sleep(TIMEOUT_MS, over.signal).then(
    () => over.abort(),
    () => undefined,
  );
  const samples = new Map<string, number>();
  const complete: number[] = [];
  const columns = new SampleColumns();
  let series = '';
  try {
    const request = {
      tenant: DEFAULT_TENANT,
      matchers: toWireMatchers([{ name: '__name__', operator: '=', value: metric }]),
      ...{ minTimeMs: 0, maxTimeMs: 2 ** 50, labelsOnly: false, partitions: [], seriesMax: 0 },
      proveComplete: true,
    };
    for await (const { frame, coverage } of connection.client.select(request, { signal: over.signal })) {
      for (const { partition, complete: isComplete } of coverage?.partitions ?? [])
        if (isComplete) complete.push(partition);
      if (frame.length === 0) continue;
      readSeriesFrame(frame, {
        beginSeries: (bytes, start, end) => {
          series = decodeLabels(bytes, start, end).get('series') ?? '';
        },
        chunk: (encoding, _first, _last, bytes, start, end) => {
          columns.count = 0;
          decodeChunk(encoding, bytes, start, end, columns);
          for (let i = 0; i < columns.count; i++)
            samples.set(`${series} ${columns.timestampsMs[i]}`, columns.values[i]!);
        },
      });
    }
    return { complete, samples };
  } finally {
    over.abort();
    await limit;
    connection.close();
  }
}

/** Acknowledged samples that are not in an ingester's own answer. */
export function missingIn(
  { samples }: OwnAnswer,
  acknowledged: readonly AcknowledgedWrite[],
  series: readonly number[] = Array.from({ length: LOAD_SERIES }, (_, i) => i),
): string[] {
  const missing: string[] = [];
  for (const { timeMs, sequence } of acknowledged) {
    for (const i of series) {
      if (samples.get(`${i} ${timeMs}`) !== valueAt(sequence, i)) missing.push(`series ${i} at ${timeMs}`);
    }
  }
  return missing;
}
