import { expect, test } from 'vitest';
import { parseListenAddress } from './listen-address.ts';

test.each([
  ['0.0.0.0:9090', '0.0.0.0', 9090],
  [':9090', undefined, 9090],
  ['localhost:0', 'localhost', 0],
  ['[::1]:9090', '::1', 9090],
])('%s', (text, host, port) => {
  expect(parseListenAddress(text)).toEqual({ host, port });
});

test.each(['9090', 'a:b', '::1:9090', 'host:70000', ''])('%j is refused', (text) => {
  expect(() => parseListenAddress(text)).toThrow('--web.listen-address');
});
