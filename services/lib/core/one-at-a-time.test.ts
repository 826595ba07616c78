// Work that must not mix.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { OneAtATime } from './one-at-a-time.ts';

test('pieces of work follow each other, also behind one that fails', async () => {
  const turns = new OneAtATime();
  const seen: string[] = [];
  const piece = (name: string, fails: boolean) => async () => {
    seen.push(`${name} begins`);
    await nextTurn();
    seen.push(`${name} ends`);
    if (fails) throw new Error(name);
    return name;
  };
  const first = turns.run(piece('a', true));
  const second = turns.run(piece('b', false));
  const third = turns.run(() => {
    seen.push('c');
    return 3;
  });
  await turns.idle();
  expect(seen).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c']);
  await expect(first).rejects.toThrow('a');
  expect(await second).toBe('b');
  expect(await third).toBe(3);
});
