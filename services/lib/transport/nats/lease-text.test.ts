import { expect, test } from 'vitest';
import { acquiringText, readLease, renewingText } from './lease-text.ts';

const HOLDER = 'member.alert-evaluator.a-1';

test.each([
  ['the first entry ever', acquiringText(HOLDER, undefined), 12, 12],
  ['a take-over: the revision is greater', acquiringText(HOLDER, 7), 12, 12],
  ['a take-over from a token that was raised', acquiringText(HOLDER, 1_000_000), 12, 1_000_001],
  ['a renewal keeps its token', renewingText(HOLDER, 12), 90, 12],
  ['an earlier version', HOLDER, 90, 90],
  ['what no version writes', `${HOLDER} x`, 90, 90],
])('%s', (_, text, revision, token) => {
  expect(readLease(text, revision)).toEqual({ holder: HOLDER, token });
});
