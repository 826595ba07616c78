// biome-ignore-all lint/suspicious/noTemplateCurlyInString: `${1}` is a reference of a Go template
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { Labels } from '../model/labels.ts';
import { relabel } from './relabel.ts';
import type { RelabelConfig } from './relabel-config.ts';
import { checkRelabelRegex, compileGroupRegex, compileTemplate } from './relabel-regex.ts';

const DEFAULTS: RelabelConfig = {
  action: 'replace',
  sourceLabels: [],
  separator: ';',
  regex: '(.*)',
  modulus: 0,
  targetLabel: '',
  replacement: '$1',
};

type Pairs = Readonly<Record<string, string>>;

function run(labels: Pairs, ...steps: readonly Partial<RelabelConfig>[]): Pairs | undefined {
  const result = relabel(
    Labels.from(Object.entries(labels)),
    steps.map((step) => ({ ...DEFAULTS, ...step })),
  );
  return result === undefined ? undefined : Object.fromEntries(result.entries());
}

describe('replace', () => {
  test.each<[string, Pairs, Partial<RelabelConfig>, Pairs]>([
    [
      'copies a group',
      { a: 'foo', b: 'bar' },
      { sourceLabels: ['a'], targetLabel: 'd', regex: 'f(.*)', replacement: 'ch${1}-ch${1}' },
      { a: 'foo', b: 'bar', d: 'choo-choo' },
    ],
    [
      'joins sources',
      { a: 'foo', b: 'bar' },
      { sourceLabels: ['a', 'b'], targetLabel: 'a', regex: 'o(.*);b(.*)' },
      { a: 'foo', b: 'bar' },
    ],
    [
      'anchors at both ends',
      { a: 'foo' },
      { sourceLabels: ['a'], targetLabel: 'b', regex: 'o+' },
      { a: 'foo' },
    ],
    [
      'prefers the alternative that matches all',
      { a: 'ab' },
      { sourceLabels: ['a'], targetLabel: 'b', regex: '(a|ab)' },
      { a: 'ab', b: 'ab' },
    ],
    [
      'deletes when the replacement is empty',
      { a: 'foo' },
      { sourceLabels: ['a'], targetLabel: 'a', regex: 'f.*', replacement: '' },
      {},
    ],
    [
      'keeps without a match',
      { a: 'foo' },
      { sourceLabels: ['a'], targetLabel: 'a', regex: 'x', replacement: '' },
      { a: 'foo' },
    ],
    ['sets a constant', { a: 'foo' }, { targetLabel: 'b', replacement: 'c' }, { a: 'foo', b: 'c' }],
    [
      'takes the target from the match',
      { a: 'k=v' },
      { sourceLabels: ['a'], regex: '(.*)=(.*)', targetLabel: '${1}_x', replacement: '$2' },
      { a: 'k=v', k_x: 'v' },
    ],
    [
      'knows named groups',
      { a: 'k=v' },
      { sourceLabels: ['a'], regex: '(?P<key>.*)=(?P<val>.*)', targetLabel: 'b', replacement: '${val}-$key' },
      { a: 'k=v', b: 'v-k' },
    ],
    [
      'reads $1x as a name that is not there',
      { a: 'v' },
      { sourceLabels: ['a'], targetLabel: 'b', replacement: '<$1x>' },
      { a: 'v', b: '<>' },
    ],
    [
      'matches newlines with a dot',
      { a: 'x\ny' },
      { sourceLabels: ['a'], regex: 'x.y', targetLabel: 'b', replacement: 'z' },
      { a: 'x\ny', b: 'z' },
    ],
    [
      'leaves out an empty target',
      { a: '' },
      { sourceLabels: ['missing'], targetLabel: '${1}', replacement: 'x' },
      {},
    ],
    [
      'allows UTF-8 targets',
      { a: 'v' },
      { sourceLabels: ['a'], targetLabel: 'größe.x' },
      { a: 'v', 'größe.x': 'v' },
    ],
  ])('%s', (_, labels, step, expected) => {
    expect(run(labels, step)).toEqual(expected);
  });

  test('a dollar sign that introduces nothing stays', () => {
    const regex = compileGroupRegex('(.*)');
    const expand = (text: string): string => compileTemplate(text).expand(['whole', 'one'], regex);
    expect(expand('$$1')).toBe('$1');
    expect(expand('a$')).toBe('a$');
    expect(expand('${1')).toBe('${1');
    expect(expand('${}')).toBe('${}');
    expect(expand('$0|$1|$2|$01')).toBe('whole|one||');
    expect(expand('${1}0')).toBe('one0');
  });
});

describe('keep and drop', () => {
  test.each<[Partial<RelabelConfig>, boolean]>([
    [{ action: 'keep', sourceLabels: ['a'], regex: 'foo' }, true],
    [{ action: 'keep', sourceLabels: ['a'], regex: 'fo' }, false],
    [{ action: 'keep', sourceLabels: ['b'], regex: '' }, true],
    [{ action: 'drop', sourceLabels: ['a'], regex: 'f.*' }, false],
    [{ action: 'drop', sourceLabels: ['a'], regex: 'x|y' }, true],
    [{ action: 'keepequal', sourceLabels: ['a'], targetLabel: 'same' }, true],
    [{ action: 'keepequal', sourceLabels: ['a'], targetLabel: 'other' }, false],
    [{ action: 'dropequal', sourceLabels: ['a'], targetLabel: 'same' }, false],
    [{ action: 'dropequal', sourceLabels: ['a'], targetLabel: 'other' }, true],
  ])('%o keeps: %s', (step, kept) => {
    expect(run({ a: 'foo', same: 'foo', other: 'bar' }, step) !== undefined).toBe(kept);
  });
});

describe('names', () => {
  test('labelmap copies, labeldrop and labelkeep select', () => {
    const labels = { __meta_x: '1', __meta_y: '2', z: '3' };
    expect(run(labels, { action: 'labelmap', regex: '__meta_(.*)' })).toEqual({ ...labels, x: '1', y: '2' });
    expect(run(labels, { action: 'labeldrop', regex: '__meta_.*' })).toEqual({ z: '3' });
    expect(run(labels, { action: 'labelkeep', regex: 'z|__meta_x' })).toEqual({ __meta_x: '1', z: '3' });
  });

  test('of two labels that labelmap gives one name the one that was set last stays', () => {
    // Both become `x`: by name m_b is the last, but m_a was set by a step.
    const steps: Parameters<typeof run>[1][] = [
      { sourceLabels: ['v'], targetLabel: 'm_a', replacement: 'set' },
      { action: 'labelmap', regex: 'm_.', replacement: 'x' },
    ];
    const labels = { m_a: '1', m_b: '2', v: 'v' };
    expect(run(labels, steps[1]!)).toMatchObject({ x: '2' });
    expect(run(labels, ...steps)).toMatchObject({ x: 'set' });
  });

  test('letters whose other case is one character in Unicode’s simple mapping', () => {
    expect(run({ a: 'İΣß' }, { action: 'lowercase', sourceLabels: ['a'], targetLabel: 'a' })).toEqual({
      a: 'iσß',
    });
    expect(run({ a: 'ᾀᾳß' }, { action: 'uppercase', sourceLabels: ['a'], targetLabel: 'a' })).toEqual({
      a: 'ᾈᾼß',
    });
  });

  test('labelmap sees only the labels of before', () => {
    expect(run({ ab: '1' }, { action: 'labelmap', regex: 'a(.*)', replacement: 'aa$1' })).toEqual({
      ab: '1',
      aab: '1',
    });
  });
});

describe('values', () => {
  test('lowercase and uppercase map code point by code point, as Go does', () => {
    expect(run({ a: 'ÄbΣ' }, { action: 'lowercase', sourceLabels: ['a'], targetLabel: 'b' })!.b).toBe('äbσ');
    expect(run({ a: 'äßx' }, { action: 'uppercase', sourceLabels: ['a'], targetLabel: 'b' })!.b).toBe('ÄßX');
  });

  // Known from Prometheus' documentation of the hash: last eight bytes of the MD5 sum, big-endian, modulo.
  test('hashmod', () => {
    const sum = createHash('md5').update('foo;bar').digest();
    let rest = 0n;
    for (const byte of sum.subarray(8)) rest = (rest * 256n + BigInt(byte)) % 1000n;
    const step: Partial<RelabelConfig> = {
      action: 'hashmod',
      sourceLabels: ['a', 'b'],
      targetLabel: 'h',
      modulus: 1000,
    };
    expect(run({ a: 'foo', b: 'bar' }, step)!.h).toBe(String(rest));
  });

  test('hashmod of the empty string: MD5 d41d8cd98f00b204e9800998ecf8427e', () => {
    const step: Partial<RelabelConfig> = {
      action: 'hashmod',
      sourceLabels: ['none'],
      targetLabel: 'h',
      modulus: 8,
    };
    // 0xe9800998ecf8427e mod 8 = 0x7e mod 8
    expect(run({ a: 'x' }, step)!.h).toBe('6');
  });
});

describe('steps', () => {
  test('run in order, and a drop ends them', () => {
    expect(
      run(
        { a: 'x' },
        { sourceLabels: ['a'], targetLabel: 'b', replacement: '${1}1' },
        { sourceLabels: ['b'], targetLabel: 'c', replacement: '${1}2' },
        { action: 'labeldrop', regex: 'a|b' },
      ),
    ).toEqual({ c: 'x12' });
    expect(
      run({ a: 'x' }, { action: 'drop', sourceLabels: ['a'] }, { targetLabel: 'b', replacement: 'c' }),
    ).toBeUndefined();
  });

  test('names of JavaScript objects are ordinary labels', () => {
    expect(run({ a: 'x' }, { sourceLabels: ['a'], targetLabel: 'constructor' })).toEqual({
      a: 'x',
      constructor: 'x',
    });
  });
});

test.each(['(', 'a)(b', '[', '(?=x)', '\\1'])('the expression %s is refused', (source) => {
  expect(() => checkRelabelRegex(source)).toThrow(/invalid regular expression/);
});
