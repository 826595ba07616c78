// A worker thread that does as it is told: for tests of the pool.
import { parentPort } from 'node:worker_threads';
import { AppError } from '../../services/lib/core/errors.ts';
import { serveTasks } from '../../services/lib/runtime/worker-tasks.ts';

export type Order =
  | { readonly do: 'echo' }
  | { readonly do: 'fail' }
  | { readonly do: 'bytes'; readonly bytes: Uint8Array }
  | { readonly do: 'crash' }
  | { readonly do: 'fill-heap' }
  | { readonly do: 'hang' };

/** Little by little: an allocation larger than V8's last reserve ends the process, whatever the thread's limit. */
function fillHeap(): never {
  let kept: object | undefined;
  for (;;) kept = { kept };
}

serveTasks<Order, string, string | Uint8Array>(parentPort!, async (order, channel) => {
  switch (order.do) {
    case 'echo':
      for (;;) {
        const said = await new Promise<string>((resolve) => {
          channel.onMessage = resolve;
        });
        if (said === 'end') return undefined;
        if (said === 'last') return { message: 'the last word', transfer: [] };
        channel.post(said.toUpperCase());
      }
    case 'fail':
      throw new AppError('bad_data', '1:3: parse error');
    case 'bytes':
      return { message: order.bytes, transfer: [order.bytes.buffer as ArrayBuffer] };
    case 'crash':
      setImmediate(() => {
        throw new TypeError('nobody catches me');
      });
      return new Promise(() => undefined);
    case 'fill-heap':
      return fillHeap();
    case 'hang':
      for (;;);
  }
});
