import { expect, test } from 'vitest';
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import { CHUNK_EXEMPLARS, CHUNK_XOR } from '../../lib/model/chunk-sink.ts';
import { decodeLabels, encodeLabels, Labels } from '../../lib/model/labels.ts';
import { ExemplarList } from '../../lib/tsdb/chunk/exemplar-list.ts';
import { type AnswerCoverage, MatchType } from '../../lib/wire/contracts.ts';
import { readSeriesFrame, SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { findExemplars } from './exemplars.ts';
import type { FannedOut } from './fan-out.ts';
import type { LookupScope } from './lookups.ts';
import type { FrameSink } from './uniting-queryable.ts';

type Exemplar = readonly [timeMs: number, value: number, id: string];

/** A node's frame: exemplars by job, `undefined` for a chunk of samples. */
function frameOf(series: Readonly<Record<string, readonly Exemplar[] | undefined>>): Uint8Array {
  const writer = new SeriesFrameWriter();
  for (const [job, exemplars] of Object.entries(series)) {
    const labels = new ByteWriter(64);
    encodeLabels(Labels.from([['job', job]]), labels);
    writer.beginSeries(labels.bytes, 0, labels.length);
    if (exemplars === undefined) {
      writer.chunk(CHUNK_XOR, 0, 1, new Uint8Array(4), 0, 4);
      continue;
    }
    const list = new ExemplarList();
    for (const [timeMs, value, id] of exemplars) {
      const content = new ByteWriter(64);
      content.f64(value);
      encodeLabels(Labels.from([['id', id]]), content);
      list.add(timeMs, content.take());
    }
    const chunk = new ByteWriter(256);
    list.encode(0, list.count, chunk);
    writer.chunk(CHUNK_EXEMPLARS, 0, 0, chunk.bytes, 0, chunk.length);
  }
  return writer.finish()[0]!;
}

const NO_COVERAGE: AnswerCoverage = {
  ...{ complete: true, partitionCount: 0, minTimeMs: 10, maxTimeMs: 40, groups: [], missing: [] },
  ...{ blockCopies: 1, blockCopiesRead: 1 },
};

async function find(frames: readonly Uint8Array[], chargeMax = Number.POSITIVE_INFINITY): Promise<string[]> {
  let charged = 0;
  const scope = {
    fanOut: { signal: AbortSignal.timeout(10_000) },
    budget: {
      charge: (bytes: number) => {
        charged += bytes;
        if (charged > chargeMax) throw new Error('over the budget');
      },
    },
    replicaLabels: ['prometheus_replica'],
  } as unknown as LookupScope & { readonly replicaLabels: readonly string[] };
  const cluster = {
    fetch: async (sink: FrameSink) => {
      for (const [i, frame] of frames.entries()) sink.addFrame(frame, `node ${i}`);
      const fetched: FannedOut = { gaps: [], coverage: () => NO_COVERAGE, without: () => fetched };
      return fetched;
    },
  };
  const matchers = [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: 'a' }];
  const request = { tenant: '', sets: [{ matchers }], minTimeMs: 10, maxTimeMs: 40, limit: 0 };
  const found: string[] = [];
  for await (const { frame } of findExemplars(request, cluster, scope)) {
    let job = '';
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        job = decodeLabels(bytes, start, end).get('job');
      },
      chunk: (encoding, _min, _max, bytes, start, end) => {
        expect(encoding).toBe(CHUNK_EXEMPLARS);
        const list = new ExemplarList();
        list.addChunk(bytes, start, end);
        for (let i = 0; i < list.count; i++) {
          const content = list.contents[i]!;
          const id = decodeLabels(content, 8, content.length).get('id');
          found.push(`${job} ${list.timestampsMs[i]} ${new ByteReader(content).f64()} ${id}`);
        }
      },
    });
  }
  return found;
}

test('replicas are united: each exemplar once, by time, series in label order, within the range', async () => {
  const found = await find([
    frameOf({
      b: [[20, 1, 'x']],
      a: [
        [10, 1, 'x'],
        [40, 4, 'y'],
        [41, 5, 'z'],
      ],
    }),
    frameOf({
      a: [
        [9, 0, 'w'],
        [10, 1, 'x'],
        [10, 1, 'v'],
        [30, 3, 'x'],
      ],
      c: [[50, 1, 'x']],
    }),
  ]);
  expect(found).toEqual(['a 10 1 v', 'a 10 1 x', 'a 30 3 x', 'a 40 4 y', 'b 20 1 x']);
});

test('a node of an earlier version answers with samples: they are no exemplars', async () => {
  expect(await find([frameOf({ a: undefined, b: [[20, 1, 'x']] })])).toEqual(['b 20 1 x']);
});

test('what is held is charged, and a damaged frame names its node', async () => {
  await expect(find([frameOf({ a: [[20, 1, 'x']] })], 100)).rejects.toThrow('over the budget');
  await expect(find([frameOf({ a: [[20, 1, 'x']] }).subarray(0, 20)])).rejects.toThrow(
    /malformed answer of node 0/,
  );
});
