import { expect, test } from 'vitest';
import { describeFlags, type FlagTable, parseBytes, parseFlags } from './flags.ts';

const TABLE = {
  'data.dir': { type: 'string', default: './data', aliases: ['storage.tsdb.path'], desc: 'Where.' },
  'query.timeout': { type: 'duration', default: 120_000, desc: 'How long.' },
  'web.enable-lifecycle': { type: 'boolean', default: false, desc: 'Reload.' },
  'storage.size': { type: 'bytes', default: 0, desc: 'Bytes.' },
  'cluster.partitions': { type: 'number', default: 64, min: 1, max: 4096, desc: 'Slices.' },
  'enable-feature': { type: 'list', default: [], desc: 'Features.' },
  'log.level': { type: 'string', default: 'info', choices: ['info', 'warn'], desc: 'Level.' },
  'web.page-title': { type: 'string', default: '', ignored: true, desc: 'None.' },
} as const satisfies FlagTable;

test('defaults, values, aliases, booleans and lists', () => {
  const { values, ignored } = parseFlags(
    TABLE,
    [
      '--storage.tsdb.path=/d',
      '--query.timeout',
      '1m30s',
      '--web.enable-lifecycle',
      '--storage.size=2GB',
      '--enable-feature=a,b',
      '--enable-feature=c',
      '--web.page-title=x',
    ],
    {},
  );
  expect(values['data.dir']).toBe('/d');
  expect(values['query.timeout']).toBe(90_000);
  expect(values['web.enable-lifecycle']).toBe(true);
  expect(values['storage.size']).toBe(2 * 1024 ** 3);
  expect(values['cluster.partitions']).toBe(64);
  expect(values['enable-feature']).toEqual(['a', 'b', 'c']);
  expect(ignored).toEqual(['web.page-title']);
});

test('the environment fills what no flag gives', () => {
  const environment = {
    TIDEMARK_DATA_DIR: '/env',
    TIDEMARK_CLUSTER_PARTITIONS: '8',
    TIDEMARK_LOG_LEVEL: 'warn',
  };
  const { values } = parseFlags(TABLE, ['--cluster.partitions=16'], environment);
  expect([values['data.dir'], values['cluster.partitions'], values['log.level']]).toEqual([
    '/env',
    16,
    'warn',
  ]);
});

test('negation', () => {
  const { values } = parseFlags(TABLE, ['--no-web.enable-lifecycle'], {
    TIDEMARK_WEB_ENABLE_LIFECYCLE: 'true',
  });
  expect(values['web.enable-lifecycle']).toBe(false);
});

test.each([
  [['--query.timeot=1m'], 'unknown flag --query.timeot; did you mean --query.timeout?'],
  [['serve'], 'unexpected argument "serve"'],
  [['--query.timeout=soon'], 'flag --query.timeout: "soon" is not a duration'],
  [['--cluster.partitions=0'], 'flag --cluster.partitions: "0" is not at least 1'],
  [['--cluster.partitions=x'], 'is not a number'],
  [['--log.level=loud'], 'is not one of info, warn'],
  [['--data.dir'], 'flag --data.dir needs a value'],
  [['--storage.size=big'], 'is not a size'],
  [['--web.enable-lifecycle=maybe'], 'is not true or false'],
])('%j is refused with what, where and the remedy', (argv, message) => {
  expect(() => parseFlags(TABLE, argv, {})).toThrow(message);
});

test('an environment variable is named when it is wrong', () => {
  expect(() => parseFlags(TABLE, [], { TIDEMARK_QUERY_TIMEOUT: 'x' })).toThrow(/^TIDEMARK_QUERY_TIMEOUT: /);
});

test('--help and --version are seen, and help teaches', () => {
  const { help, version } = parseFlags(TABLE, ['--help', '--version'], {});
  expect([help, version]).toEqual([true, true]);
  const text = describeFlags('usage: x', TABLE);
  expect(text).toContain('--data.dir=<string>, --storage.tsdb.path\n      Where. Default: ./data.');
  expect(text).toContain('Default: 2m.');
});

test.each([
  ['512MB', 512 * 1024 ** 2],
  ['1.5KB', 1536],
  ['10GiB', 10 * 1024 ** 3],
  ['0', 0],
  ['12', undefined],
  ['GB', undefined],
])('size %s', (text, bytes) => {
  expect(parseBytes(text)).toBe(bytes);
});
