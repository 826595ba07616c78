import { connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { freePort } from '../../test/support/programs.ts';
import { FaultProxy } from './fault-proxy.ts';

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

/** A server that says what it hears, a proxy before it, and a client with what it has heard. */
async function setUp() {
  const target = await freePort();
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => {
    server.listen(target, '127.0.0.1', resolve);
  });
  endings.push(() => server.close());
  const proxy = await FaultProxy.start(await freePort(), target);
  endings.push(() => proxy.stop());
  const open = () =>
    new Promise<{ socket: Socket; heard: () => string; ended: Promise<string> }>((resolve) => {
      let heard = '';
      const socket = connect(proxy.port, '127.0.0.1', () => resolve({ socket, heard: () => heard, ended }));
      endings.push(() => socket.destroy());
      socket.on('data', (piece) => {
        heard += piece.toString();
      });
      const ended = new Promise<string>((settle) => {
        socket.on('error', (error: Error & { code?: string }) => settle(error.code ?? ''));
        socket.on('close', () => settle('closed'));
      });
    });
  return { proxy, open };
}

test('bytes pass both ways; silence holds them back and loses none', async () => {
  const { proxy, open } = await setUp();
  const { socket, heard } = await open();
  socket.write('one ');
  await expect.poll(heard).toBe('one ');
  proxy.silence();
  socket.write('two ');
  const late = await open();
  late.socket.write('late');
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect([heard(), late.heard()]).toEqual(['one ', '']);
  proxy.heal();
  await expect.poll(heard).toBe('one two ');
  await expect.poll(late.heard).toBe('late');
});

test('a delay keeps the order, a reset breaks connections and lets the next ones in', async () => {
  const { proxy, open } = await setUp();
  const { socket, heard, ended } = await open();
  proxy.delay(50);
  const sentMs = performance.now();
  for (let i = 0; i < 9; i++) socket.write(String(i));
  await expect.poll(heard).toBe('012345678');
  expect(performance.now() - sentMs).toBeGreaterThanOrEqual(99);
  proxy.reset();
  expect(await ended).toBe('ECONNRESET');
  proxy.heal();
  const next = await open();
  next.socket.write('again');
  await expect.poll(next.heard).toBe('again');
});
