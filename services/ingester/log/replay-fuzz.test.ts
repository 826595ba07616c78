// Log records whose checksum is right and whose payload is not, what a faulty writer would leave behind (RELIABILITY R38): each is
// applied or refused as `bad_data`, which sets it aside. Any other error would end every start of the process.
import { expect, test } from 'vitest';
import { fuzzBytes } from '../../../test/support/byte-fuzz.ts';
import { randomOf } from '../../../test/support/random.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { ExtraColumns } from '../../lib/model/extra-columns.ts';
import { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { withDefaults } from '../options.ts';
import { Tenants } from '../tenants.ts';
import { encodeDelete, encodeUndelete, RECORD_DELETE, RECORD_UNDELETE } from './delete-records.ts';
import {
  encodeCut,
  encodeExtras,
  encodeMetadata,
  encodeSamples,
  encodeSealed,
  encodeState,
  putLogDefinition,
  RECORD_CUT,
  RECORD_END,
  RECORD_EXTRAS,
  RECORD_METADATA,
  RECORD_SAMPLES,
  RECORD_SEALED,
  RECORD_STATE,
  RecordColumns,
} from './log-records.ts';
import { Replayer } from './replay.ts';

const START_MS = 1_700_000_000_000;
/** Applied to one table of tenants after another, so that records meet what others left. */
const RECORDS_PER_TABLE = 200;

function payload(write: (out: ByteWriter) => void): Uint8Array {
  const out = new ByteWriter(64);
  write(out);
  return out.take();
}

function definitions(from: number, count: number): Uint8Array {
  return payload((out) => {
    for (let id = from; id < from + count; id++) {
      const labels = payload((bytes) =>
        encodeLabels(
          Labels.from([
            ['__name__', 'm'],
            ['id', `${id}`],
          ]),
          bytes,
        ),
      );
      putLogDefinition(out, id, id % 64, labels, 0, labels.length);
    }
  });
}

function samples(seed: number): Uint8Array {
  const random = randomOf(seed);
  const columns = new RecordColumns();
  columns.count = 12;
  for (let i = 0; i < columns.count; i++) {
    columns.ids[i] = i % 6;
    columns.timestampsMs[i] = START_MS + seed * 15_000 + i;
    columns.values[i] = random() * 1000;
  }
  const defined = definitions(0, 6);
  return payload((out) => encodeSamples(out, 'anonymous', 6, defined, defined.length, columns));
}

function extras(seed: number): Uint8Array {
  const columns = new ExtraColumns();
  const histogram = new FloatHistogram();
  histogram.count = seed + 3;
  histogram.sum = 12.5;
  histogram.zeroCount = seed + 3;
  columns.addHistogram(0, START_MS + seed, histogram, 'integer');
  columns.addStartTime(1, START_MS + seed, START_MS - 5000);
  const labels = payload((out) => encodeLabels(Labels.from([['trace_id', 'abc']]), out));
  columns.addExemplar(2, START_MS + seed, 1.5, labels, 0, labels.length);
  const defined = definitions(0, 3);
  return payload((out) => encodeExtras(out, 'anonymous', 3, defined, defined.length, columns));
}

/** One record of each kind; the type travels as the first byte of what is mutated. */
const RECORDS: readonly (readonly [type: number, payload: Uint8Array])[] = [
  ...[1, 2, 3, 4].map((seed) => [RECORD_SAMPLES, samples(seed)] as const),
  ...[1, 2].map((seed) => [RECORD_EXTRAS, extras(seed)] as const),
  [
    RECORD_CUT,
    payload((out) =>
      encodeCut(out, { tenant: 'anonymous', startMs: START_MS - (START_MS % 7_200_000), generation: 1 }),
    ),
  ],
  [
    RECORD_SEALED,
    payload((out) =>
      encodeSealed(out, { tenant: 'anonymous', generation: 1, endMs: START_MS, blockId: '0'.repeat(32) }),
    ),
  ],
  [
    RECORD_METADATA,
    payload((out) =>
      encodeMetadata(out, 'anonymous', [{ metric: 'm', type: 'gauge', help: 'h', unit: 's' }]),
    ),
  ],
  [
    RECORD_STATE,
    payload((out) => encodeState(out, { tenant: 'b', generationNext: 9, leftBeforeMs: START_MS })),
  ],
  [
    RECORD_END,
    payload((out) => {
      out.varint(3);
      out.varint(12);
    }),
  ],
  [
    RECORD_DELETE,
    payload((out) =>
      encodeDelete(out, {
        tenant: 'anonymous',
        id: 'd',
        matchers: [{ name: 'id', operator: '=~', value: '1|2' }],
        minTimeMs: 0,
        maxTimeMs: START_MS,
        createdAtMs: START_MS,
        actor: 'x',
        generationMax: 1,
      }),
    ),
  ],
  [RECORD_UNDELETE, payload((out) => encodeUndelete(out, { tenant: 'anonymous', id: 'd' }))],
];

test('R38: records of any content are applied or set aside', { timeout: 300_000 }, async () => {
  const newReplayer = () => new Replayer(new Tenants(withDefaults({ dataDir: '/nowhere' }), 1));
  let replayer = newReplayer();
  let applied = 0;
  await fuzzBytes({
    name: 'log record',
    samples: RECORDS.map(([type, bytes]) => Uint8Array.of(type, ...bytes)),
    answeredShareMin: 0.05,
    // An id may stand 2^22 above all others (ID_GAP_MAX): tables by id grow to that, and lists of the ids between.
    growthBytes: 128 << 20,
    read: (bytes) => {
      if (applied++ % RECORDS_PER_TABLE === 0) {
        replayer.finish();
        replayer = newReplayer();
      }
      const view = { type: bytes[0] ?? 0, writer: 1, sequence: applied, start: 1, end: bytes.length };
      try {
        replayer.apply(view, bytes, 1);
        return true;
      } catch (caught) {
        if (caught instanceof AppError && caught.code === 'bad_data') return false;
        throw caught;
      }
    },
  });
  expect(applied).toBeGreaterThan(RECORDS.length);
});
