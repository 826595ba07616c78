// Examples of Prometheus' proposal for UTF-8 names.
import { expect, test } from 'vitest';
import { unescapeLabelName } from './value-escaping.ts';

test.each([
  ['instance', 'instance'],
  ['U__http_2e_status__code', 'http.status_code'],
  ['U__a_2f_b', 'a/b'],
  ['U__mysystem_2e_prod__x_1f600_', 'mysystem.prod_x😀'],
  ['U__', ''],
])('%s is %s', (escaped, name) => {
  expect(unescapeLabelName(escaped)).toBe(name);
});

test.each(['U__broken_2e', 'U__broken_zz_', 'U__surrogate_d800_', 'U__beyond_110000_'])(
  '%s is no escape and stands as it is',
  (name) => {
    expect(unescapeLabelName(name)).toBe(name);
  },
);
