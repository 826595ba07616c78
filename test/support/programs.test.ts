// Ports that tests are given: workers that run side by side must never be given the same one, whether they listen yet or not.
import { expect, test } from 'vitest';
import { startProcess } from './process.ts';
import { waitFor } from './programs.ts';

/** Ten ports that nobody else asks for: below those of tests. */
const RANGE = '19900..19910';

/** A process that takes some of them and stays. */
async function holderOf(count: number) {
  const script = `
    import { freePort } from '${new URL('./programs.ts', import.meta.url).href}';
    const ports = [];
    while (ports.length < ${count}) ports.push(await freePort());
    console.log(JSON.stringify({ ports }));
    setInterval(() => undefined, 1000);`;
  const holder = startProcess(process.execPath, ['--input-type=module', '-e', script], {
    env: { TIDEMARK_TEST_PORTS: RANGE },
  });
  const ports = await waitFor('its ports', () =>
    Promise.resolve(/\{.*\}/.exec(holder.output())?.[0]).then((line) =>
      line === undefined ? undefined : (JSON.parse(line) as { ports: number[] }).ports,
    ),
  );
  return { ports, end: () => holder.end('SIGKILL') };
}

test('no port is given to two processes; those of a process that was killed are free again', async () => {
  const first = await holderOf(6);
  const second = await holderOf(4);
  expect(new Set([...first.ports, ...second.ports]).size).toBe(10);
  await first.end();
  const third = await holderOf(6);
  expect(new Set(third.ports)).toEqual(new Set(first.ports));
  await second.end();
  await third.end();
});
