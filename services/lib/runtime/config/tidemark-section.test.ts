import { expect, test } from 'vitest';
import { loadConfig } from './load-config.ts';

const DAY_MS = 86_400_000;
const storageOf = (yaml: string) => loadConfig(yaml, '/').storage;

test('downsampling and retention, in order', () => {
  const { downsampling, retention } = storageOf(`tidemark:
  downsampling:
    - {resolution: 5m, after: 2d, retention: 90d}
    - {resolution: 1h, after: 10d, retention: 0}
  retention:
    - {match: '{job="x",path=~"/a.*"}', time: 30d}
    - {match: debug_total, time: 0}
`);
  expect(downsampling).toEqual([
    { resolutionMs: 300_000, afterMs: 2 * DAY_MS, retentionMs: 90 * DAY_MS },
    { resolutionMs: 3_600_000, afterMs: 10 * DAY_MS, retentionMs: 0 },
  ]);
  expect(retention.map(({ match, retentionMs }) => [match, retentionMs])).toEqual([
    ['{job="x",path=~"/a.*"}', 30 * DAY_MS],
    ['debug_total', 0],
  ]);
  expect(retention[0]!.matchers).toMatchObject([
    { name: 'job', operator: '=', value: 'x' },
    { name: 'path', operator: '=~', value: '/a.*' },
  ]);
  expect(storageOf('global: {}\n')).toEqual({ downsampling: [], retention: [] });
});

const level = (resolution: string, after = '2d', retention = '90d') =>
  `{resolution: ${resolution}, after: ${after}, retention: ${retention}}`;

test.each([
  [`downsampling: [${level('7m')}]`, '1:40', 'must be from 1m to 1d and divide a day'],
  [`downsampling: [${level('30s')}]`, '1:40', 'must be from 1m'],
  [`downsampling: [${level('1h')}, ${level('5m')}]`, '1:85', 'put the finest first'],
  [`downsampling: [${level('5m', '1m')}]`, '1:51', 'must not be shorter than the resolution'],
  [`downsampling: [${level('5m', '2d', '1d')}]`, '1:66', 'must be longer than "after"'],
  ['downsampling: [{resolution: 5m, after: 2d}]', '1:27', 'retention: is required'],
  ['downsampling: [{resolution: 5m, after: 2d, retention: x}]', '1:66', 'write it like'],
  ['retention: [{time: 3d}]', '1:24', 'match: is required'],
  ['retention: [{match: up}]', '1:24', 'time: is required'],
  [`retention: [{match: '{a="b"', time: 3d}]`, '1:32', 'is not a series selector'],
  [`retention: [{match: '{a=~"("}', time: 3d}]`, '1:32', 'is not a series selector'],
  ['retention: [{match: up, time: 3d, keep: x}]', '1:46', 'unknown key "keep"'],
])('%s is refused at %s', (yaml, place, problem) => {
  let caught: unknown;
  try {
    storageOf(`tidemark: {${yaml}}\n`);
  } catch (error) {
    caught = error;
  }
  expect(caught).toMatchObject({ code: 'bad_data' });
  const { message, line, column } = caught as { message: string; line: number; column: number };
  expect(message).toContain(problem);
  expect(`${line}:${column}`).toBe(place);
});
