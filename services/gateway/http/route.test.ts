import { expect, test } from 'vitest';
import { type Method, type Route, RouteTable } from './route.ts';

const route = (template: string, ...methods: Method[]): Route => ({
  template,
  methods,
  kind: 'plain',
  handle: async () => undefined,
});
const table = new RouteTable([route('/a', 'GET'), route('/a', 'POST'), route('/label/{name}/values', 'GET')]);

test.each([
  ['GET', '/a', '/a', ''],
  ['POST', '/a', '/a', ''],
  ['GET', '/label/job/values', '/label/{name}/values', 'job'],
  ['GET', '/label/a%2Fb%20c/values', '/label/{name}/values', 'a/b c'],
])('%s %s leads to %s', (method, path, template, pathValue) => {
  expect(table.find(method, path)).toMatchObject({ kind: 'found', route: { template }, pathValue });
});

test.each([
  '/',
  '/a/',
  '/b',
  '/label/values',
  '/label//values',
  '/label/a/b/values',
  '/label/values/values/x',
])('%s leads nowhere', (path) => {
  expect(table.find('GET', path)).toEqual({ kind: 'none' });
});

test('a wrong method says which are right', () => {
  expect(table.find('DELETE', '/a')).toEqual({ kind: 'wrong-method', allowed: ['GET', 'POST'] });
});

test('a broken escape is the client’s fault', () => {
  expect(() => table.find('GET', '/label/%zz/values')).toThrow('invalid URL escape');
});
