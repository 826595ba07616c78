// A process of a cluster that starts before NATS waits for it.
import { expect, test } from 'vitest';
import { startNode } from '../support/cluster.ts';
import { startNats } from '../support/nats.ts';
import { hasPrograms } from '../support/process.ts';
import { answers, freePort, waitFor } from '../support/programs.ts';

test.skipIf(!hasPrograms('nats-server'))(
  'a process that starts before NATS waits for it',
  { timeout: 60_000 },
  async () => {
    const port = await freePort();
    const store = await startNode('store', 'early', {
      natsUrl: `nats://127.0.0.1:${port}`,
      zone: '',
      configFile: '',
    });
    await waitFor('healthy', () => answers(`${store.url}/-/healthy`), { describe: store.output });
    await waitFor('a clear line', () => Promise.resolve(/level=warn.*out of reach/.test(store.output())), {
      describe: store.output,
    });
    expect((await fetch(`${store.url}/-/ready`)).status).toBe(503);
    await startNats({ port });
    await store.ready(15_000);
    await store.end('SIGTERM');
    expect(store.exited()).toBe(0);
  },
);
