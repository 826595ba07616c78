// An ingester in a process of its own, for tests that kill it: writes numbered samples on one stream and says on standard
// output which are acknowledged. Usage: node ingester-child.ts DATA_DIR FIRST_NUMBER
import { Registry } from 'prom-client';
import { createIngester } from '../../services/ingester/service.ts';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { encodeLabels, Labels } from '../../services/lib/model/labels.ts';
import { DEFAULT_TENANT } from '../../services/lib/model/tenant.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import { draftAppendBatch, putDefinition } from '../../services/lib/wire/append/append-batch.ts';
import { AppendOutcome, type AppendRequest, IngesterDefinition } from '../../services/lib/wire/contracts.ts';

const [dataDir, firstText] = process.argv.slice(2);
const first = Number(firstText);
const SERIES = 20;
const IN_FLIGHT_MAX = 50;

const ingester = createIngester(
  // Head images all the time, so that kills fall into the writing of one.
  {
    dataDir: dataDir!,
    segmentBytesMax: 16 << 10,
    groupCommitMs: 1,
    sealCheckIntervalMs: 10,
    imageLogBytes: 1,
  },
  {
    cluster: {
      placement: () => undefined,
      replicationFactor: 1,
      ingesters: () => [],
      stores: () => [],
      queriers: () => [],
      scrapers: () => [],
      alertEvaluators: () => [],
    },
    clock: systemClock,
    logger: createSilentLogger(),
    registry: new Registry(),
  },
);
await ingester.start();
const client = createInProcessClient(IngesterDefinition, ingester.handlers);

let answered = 0;
let onAnswer: (() => void) | undefined;

/** Request n holds sample number first + n - 1 of each series: time and value are that number. */
async function* requests(): AsyncGenerator<AppendRequest> {
  for (let sequence = 1; ; sequence++) {
    while (sequence - answered > IN_FLIGHT_MAX) {
      await new Promise<void>((resolve) => {
        onAnswer = resolve;
      });
    }
    const definitions = new ByteWriter();
    for (let i = 0; sequence === 1 && i < SERIES; i++) {
      const labels = new ByteWriter();
      encodeLabels(
        Labels.from([
          ['__name__', 'm'],
          ['i', `${first}-${i}`],
        ]),
        labels,
      );
      putDefinition(definitions, i, 0, labels.bytes, 0, labels.length);
    }
    const draft = draftAppendBatch(
      [{ partition: 0, samples: SERIES }],
      SERIES,
      sequence === 1 ? SERIES : 0,
      definitions.bytes,
      definitions.length,
    );
    for (let i = 0; i < SERIES; i++) draft.references[i] = i;
    draft.timestampsMs.fill(first + sequence - 1);
    draft.values.fill(first + sequence - 1);
    yield {
      tenant: DEFAULT_TENANT,
      writerId: `w${first}`,
      sequence,
      epoch: 0,
      batch: draft.bytes,
      metadata: [],
    };
  }
}

for await (const { sequence, outcome } of client.append(requests(), {
  signal: new AbortController().signal,
})) {
  answered++;
  onAnswer?.();
  if (outcome === AppendOutcome.APPEND_OUTCOME_DURABLE) process.stdout.write(`${first + sequence - 1}\n`);
}
