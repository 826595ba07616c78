import { describe, expect, test } from 'vitest';
import { ByteWriter } from '../core/bytes.ts';
import { decodeLabels, encodeLabels, Labels } from './labels.ts';
import { ReplicaLabels } from './replica-labels.ts';

const DEFAULTS = ['prometheus_replica', '__replica__'];

function bytesOf(pairs: Readonly<Record<string, string>>): Uint8Array {
  const out = new ByteWriter();
  // Somewhere in the middle of other bytes.
  out.raw(new Uint8Array([255, 255, 255]));
  encodeLabels(Labels.from(Object.entries(pairs)), out);
  out.u8(255);
  return out.take();
}

function strip(names: readonly string[], pairs: Readonly<Record<string, string>>) {
  const bytes = bytesOf(pairs);
  const replicas = new ReplicaLabels(names);
  const into = new ByteWriter();
  const end = bytes.length - 1;
  const isIn = replicas.isIn(bytes, 3, end);
  const values = replicas.strip(bytes, 3, end, into);
  return { isIn, values, labels: decodeLabels(into.bytes, 0, into.length).toString() };
}

describe('replica labels', () => {
  test.each<[Readonly<Record<string, string>>, boolean, string, string]>([
    [{ __name__: 'up', job: 'a' }, false, '', 'up{job="a"}'],
    [{ __name__: 'up', job: 'a', prometheus_replica: 'p-0' }, true, 'p-0\0', 'up{job="a"}'],
    [{ __name__: 'up', __replica__: 'x', job: 'a', prometheus_replica: 'y' }, true, 'x\0y\0', 'up{job="a"}'],
    [{ prometheus_replica: 'y' }, true, 'y\0', '{}'],
    [{}, false, '', '{}'],
    // Of the same length, and longer than a byte says.
    [
      { prometheus_replicA: 'y', z: 'v'.repeat(300) },
      false,
      '',
      `{prometheus_replicA="y", z="${'v'.repeat(300)}"}`,
    ],
    [
      { __replica__: 'v'.repeat(300), ['n'.repeat(200)]: 'b' },
      true,
      `${'v'.repeat(300)}\0`,
      `{${'n'.repeat(200)}="b"}`,
    ],
  ])('%o', (pairs, isIn, values, labels) => {
    expect(strip(DEFAULTS, pairs)).toEqual({ isIn, values, labels });
  });

  test('none are looked for', () => {
    expect(strip([], { prometheus_replica: 'y' })).toMatchObject({ isIn: false, values: '' });
  });

  test('names longer than any table', () => {
    const long = 'n'.repeat(1000);
    expect(strip([long], { [long]: 'a', [`${long}n`]: 'b' })).toMatchObject({ isIn: true, values: 'a\0' });
  });

  test('malformed bytes end', () => {
    const bytes = Uint8Array.from({ length: 64 }, () => 255);
    expect(new ReplicaLabels(DEFAULTS).isIn(bytes, 0, 64)).toBe(false);
  });
});
