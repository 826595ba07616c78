import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { LeakWatch } from './leak-watch.ts';

/** This process itself, with a server for its metrics. */
async function watchSelf() {
  let timers = 3;
  const server = createServer((_, response) => {
    response.end(`nodejs_active_resources{type="Timeout"} ${timers}\n`);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const watched = { name: 'self', pid: process.pid, url: `http://127.0.0.1:${port}` };
  const setTimers = (count: number): void => {
    timers = count;
  };
  return { watch: new LeakWatch(), watched, port, setTimers };
}

test('a process that keeps what it has is no leak, a short life tells nothing', async () => {
  const { watch, watched } = await watchSelf();
  for (let i = 0; i < 8; i++) await watch.look([watched, { ...watched, name: 'gone', pid: 2 ** 22 + 1 }]);
  expect(watch.report()).toEqual({ lines: [], leaks: [] });
  await watch.look([watched]);
  const { lines, leaks } = watch.report();
  expect(leaks).toEqual([]);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^usage self .*rssMib \d+ → \d+ .*fds \d+ → \d+ .*timers 3 → 3 \(0\.0\/h\)$/);
});

test('sockets and timers that only become more are found', async () => {
  const { watch, watched, port, setTimers } = await watchSelf();
  const sockets: Socket[] = [];
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (let i = 0; i < 12; i++) {
    setTimers(10 + 20 * i);
    for (let n = 0; n < 6; n++) sockets.push(connect(port, '127.0.0.1'));
    await watch.look([watched]);
  }
  const { leaks } = watch.report();
  expect(leaks.map((leak) => /: (\w+) /.exec(leak)![1])).toEqual(
    expect.arrayContaining(['sockets', 'timers']),
  );
});
