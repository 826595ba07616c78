// Result JSON against the plain way: objects and JSON.parse.
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { formatValue } from '../../lib/model/number-format.ts';
import { ResultType } from '../../lib/wire/contracts.ts';
import { ResultFrameWriter } from '../../lib/wire/frames/result-frame.ts';
import { RepeatGzip } from '../http/repeat-gzip.ts';
import { PAIRS_MAX } from './kernel/text-kernel.ts';
import { type JsonSink, labelsToJson, ResultJson } from './result-json.ts';

function render(
  type: ResultType,
  series: readonly { labels: Labels; samples: readonly (readonly [number, number])[] }[],
): string {
  let text = '';
  const json = new ResultJson({ writeBytes: (piece) => void (text += piece.toString()) }, type);
  const writer = new ResultFrameWriter();
  for (const { labels, samples } of series) {
    const times = Float64Array.from(samples, ([time]) => time);
    const frame = writer.add(
      labels,
      times,
      Float64Array.from(samples, ([, value]) => value),
      samples.length,
    );
    if (frame !== undefined) json.addFrame(frame);
  }
  const last = writer.finish();
  if (last !== undefined) json.addFrame(last);
  return text;
}

test('values and times are written as Prometheus writes them', () => {
  const samples = [
    [0, 1],
    [1500, Number.NaN],
    [1_435_781_430_781, Number.POSITIVE_INFINITY],
    [1_435_781_431_000, Number.NEGATIVE_INFINITY],
    [1_435_781_432_000, -0],
    [1_435_781_433_000, 1e21],
    [1_435_781_434_000, 1.5e-7],
    [1_435_781_435_000, 0.1 + 0.2],
  ] as const;
  expect(render(ResultType.RESULT_TYPE_MATRIX, [{ labels: Labels.from([['job', 'a']]), samples }])).toBe(
    '{"metric":{"job":"a"},"values":[[0,"1"],[1.500,"NaN"],[1435781430.781,"+Inf"],[1435781431,"-Inf"],' +
      '[1435781432,"-0"],[1435781433,"1e+21"],[1435781434,"1.5e-07"],[1435781435,"0.30000000000000004"]]}',
  );
});

test('vectors and scalars', () => {
  const series = [
    { labels: Labels.from([['__name__', 'up']]), samples: [[1000, 1]] as const },
    { labels: Labels.empty, samples: [[1000, 2]] as const },
  ];
  expect(render(ResultType.RESULT_TYPE_VECTOR, series)).toBe(
    '{"metric":{"__name__":"up"},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}',
  );
  expect(render(ResultType.RESULT_TYPE_SCALAR, series.slice(1))).toBe('[1,"2"]');
});

test('series with histograms: floats and histograms under keys of their own', () => {
  const histogram = Object.assign(new FloatHistogram(), {
    count: 3,
    sum: 2.5,
    positive: { indexes: [1], counts: [3] },
  });
  const written = '{"count":"3","sum":"2.5","buckets":[[0,"1","2","3"]]}';
  const play = (type: ResultType, histograms: readonly (FloatHistogram | undefined)[]): string => {
    let text = '';
    const json = new ResultJson({ writeBytes: (piece) => void (text += piece.toString()) }, type);
    const writer = new ResultFrameWriter();
    const times = Float64Array.from(histograms, (_, i) => 1000 * (i + 1));
    writer.add(Labels.empty, times, new Float64Array(times.length).fill(7), times.length, histograms);
    json.addFrame(writer.finish()!);
    return text;
  };
  expect(play(ResultType.RESULT_TYPE_VECTOR, [histogram])).toBe(`{"metric":{},"histogram":[1,${written}]}`);
  expect(play(ResultType.RESULT_TYPE_MATRIX, [histogram, histogram])).toBe(
    `{"metric":{},"histograms":[[1,${written}],[2,${written}]]}`,
  );
  expect(play(ResultType.RESULT_TYPE_MATRIX, [undefined, histogram, undefined])).toBe(
    `{"metric":{},"values":[[1,"7"],[3,"7"]],"histograms":[[2,${written}]]}`,
  );
});

test('any label set is a JSON object with the same content', () => {
  const text = fc.string({ unit: 'binary', maxLength: 30 }).filter((s) => s !== '');
  fc.assert(
    fc.property(fc.dictionary(text, text, { maxKeys: 6, noNullPrototype: true }), (record) => {
      const bytes = new ByteWriter();
      encodeLabels(Labels.from(Object.entries(record)), bytes);
      const parsed = JSON.parse(labelsToJson(bytes.bytes, 0, bytes.length)) as Record<string, string>;
      expect(new Map(Object.entries(parsed))).toEqual(new Map(Object.entries(record)));
    }),
  );
});

test('times that differ between series are not mixed up', () => {
  const sample = fc.tuple(fc.integer({ min: 0, max: 5000 }), fc.double());
  const samples = fc.uniqueArray(sample, { selector: ([time]) => time, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(samples, { maxLength: 6 }), (all) => {
      const sorted = all.map((one) => one.toSorted(([a], [b]) => a - b));
      const text = render(
        ResultType.RESULT_TYPE_MATRIX,
        sorted.map((one, i) => ({ labels: Labels.from([['i', String(i)]]), samples: one })),
      );
      const parsed = JSON.parse(`[${text}]`) as { values: [number, string][] }[];
      expect(parsed.map(({ values }) => values.map(([time]) => Math.round(time * 1000)))).toEqual(
        sorted.map((one) => one.map(([time]) => time)),
      );
      expect(
        parsed.map(({ values }) => values.map(([, value]) => Number(value.replace('Inf', 'Infinity')))),
      ).toEqual(sorted.map((one) => one.map(([, value]) => value)));
    }),
  );
});

test('runs that are said to stand before do', () => {
  const value = fc.oneof(
    fc.constantFrom(0, 1, 1, 12_345_678, 12_345_679, 0.1, 1e21, Number.NaN),
    fc.double(),
    fc.integer({ min: 1e9, max: 1e9 + 20 }),
  );
  const values = fc.array(value, { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(
      fc.array(values, { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 60 }),
      (columns, copies) => {
        let text = Buffer.alloc(0);
        let said = 0;
        const sink: JsonSink = {
          wantsRepeats: true,
          writeBytes: (piece, repeats) => {
            const from = text.length;
            text = Buffer.concat([text, piece]);
            let end = 0;
            let bytes = 0;
            for (let i = 0; i < repeats!.count; i++) {
              const place = repeats!.places[i]!;
              const length = repeats!.lengths[i]!;
              const before = from + place - repeats!.distance(i);
              expect(place).toBeGreaterThanOrEqual(end);
              expect(before).toBeGreaterThanOrEqual(0);
              for (let at = 0; at < length; at++) {
                if (text[before + at] !== text[from + place + at])
                  expect.fail(`run ${i} of a piece at ${from}`);
              }
              end = place + length;
              bytes += length;
            }
            expect(end).toBeLessThanOrEqual(piece.length);
            expect(repeats!.bytes).toBe(bytes);
            said += bytes;
          },
        };
        const json = new ResultJson(sink, ResultType.RESULT_TYPE_MATRIX);
        const writer = new ResultFrameWriter();
        for (let copy = 0; copy < copies; copy++) {
          for (const [i, column] of columns.entries()) {
            const labels = Labels.from([['job', `job-${i}`]]);
            const times = Float64Array.from(column, (_, k) => 1_795_298_981_000 + k * 15_000);
            const frame = writer.add(labels, times, Float64Array.from(column), column.length);
            if (frame !== undefined) json.addFrame(frame);
          }
        }
        const last = writer.finish();
        if (last !== undefined) json.addFrame(last);
        if (columns.length * copies > 1) expect(said).toBeGreaterThan(0);
      },
    ),
    { numRuns: 60 },
  );
});

test('series longer than one call of the kernel, among them values with an exponent, on grids that differ', () => {
  const written: { metric: Record<string, string>; values: [number, string][] }[] = [];
  const frames = new ResultFrameWriter();
  const pieces: Buffer[] = [];
  const gzip = new RepeatGzip();
  const sink: JsonSink = {
    wantsRepeats: true,
    writeBytes: (piece, repeats) => {
      pieces.push(piece);
      gzip.add(piece, repeats);
    },
  };
  const json = new ResultJson(sink, ResultType.RESULT_TYPE_MATRIX);
  const count = 2 * PAIRS_MAX + 300;
  for (let series = 0; series < 12; series++) {
    const times = Float64Array.from({ length: count }, (_, i) => 1_795_298_981_000 + i * 15_000);
    // From there on another grid.
    if (series === 4) for (let i = 700; i < count; i++) times[i]! += 7;
    const values = times.map((_, i) => (i % (97 + series) === 0 ? 1e-9 * i : (i * (series + 1)) / 7));
    const own = series === 7 ? 3 : series === 8 ? PAIRS_MAX : count;
    const frame = frames.add(Labels.from([['i', String(series)]]), times, values, own);
    if (frame !== undefined) json.addFrame(frame);
    const pairs = Array.from(times.subarray(0, own), (time, i): [number, string] => [
      time / 1000,
      formatValue(values[i]!),
    ]);
    written.push({ metric: { i: String(series) }, values: pairs });
  }
  const last = frames.finish();
  if (last !== undefined) json.addFrame(last);
  gzip.finish(Buffer.alloc(0));
  const text = Buffer.concat(pieces).toString();
  expect(JSON.parse(`[${text}]`)).toEqual(written);
  return Promise.all(takeAll(gzip)).then((compressed) =>
    expect(gunzipSync(Buffer.concat(compressed)).toString()).toBe(text),
  );
});

function takeAll(gzip: RepeatGzip): Promise<Buffer>[] {
  const taken: Promise<Buffer>[] = [];
  for (let next = gzip.take(); next !== undefined; next = gzip.take()) taken.push(next);
  return taken;
}
