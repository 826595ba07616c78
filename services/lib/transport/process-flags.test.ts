import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { parseFlags } from '../runtime/flags.ts';
import { natsOptionsOf } from './nats/nats-options.ts';
import { advertisedAddress, instanceOf, PROCESS_FLAGS, splitAddress } from './process-flags.ts';

const flagsOf = (...argv: string[]) => parseFlags(PROCESS_FLAGS, argv, {}).values;

test.each<[listen: string, advertised: RegExp]>([
  ['10.1.2.3:9095', /^10\.1\.2\.3:7$/],
  ['[::1]:9095', /^\[::1\]:7$/],
  ['0.0.0.0:9095', /^(?!0\.)\d+\.\d+\.\d+\.\d+:7$/],
  [':9095', /^(?!0\.)\d+\.\d+\.\d+\.\d+:7$/],
])('%s is advertised by an address that others can reach', (listen, advertised) => {
  expect(advertisedAddress(listen, 7)).toMatch(advertised);
});

test.each(['9095', 'host:', 'host:x', 'host:70000'])('%s is no address', (address) => {
  expect(() => splitAddress(address)).toThrow('is not host:port');
});

test('a name for each process that NATS can take', () => {
  expect(instanceOf(flagsOf())).toBe(hostname());
  expect(instanceOf(flagsOf('--cluster.instance=tidemark-ingester-0.zone_a'))).toBe(
    'tidemark-ingester-0.zone_a',
  );
  for (const name of ['a b', 'a*', '.a', 'a.', 'a>']) {
    expect(() => instanceOf(flagsOf(`--cluster.instance=${name}`))).toThrow('flag --cluster.instance');
  }
});

test.each<[string[], string]>([
  [['--cluster.name=a.b'], 'flag --cluster.name: "a.b"'],
  [['--cluster.member-expiry=2s'], 'flag --cluster.member-expiry: 2000 ms is less than three times'],
  [['--nats.tls-cert-file=x'], 'flags --nats.tls-cert-file and --nats.tls-key-file belong together'],
  [['--nats.token-file=/nowhere/token'], 'flag --nats.token-file: ENOENT'],
  [['--nats.url='], 'flag --nats.url: at least one server is needed'],
])('%j is refused', (argv, message) => {
  expect(() => natsOptionsOf(flagsOf(...argv))).toThrow(message);
});
