// Entry of the fetch thread: connects its port with a desk.
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../lib/core/clock.ts';
import { FetchDesk } from './fetch-desk.ts';
import type { FetchThreadData, FromFetchThread, ToFetchThread } from './fetch-messages.ts';

const port = parentPort!;
const post = (messages: readonly FromFetchThread[]): void => port.postMessage(messages);
const desk = new FetchDesk(workerData as FetchThreadData, { clock: systemClock, post });
port.on('message', (messages: readonly ToFetchThread[]) => {
  for (const message of messages) desk.accept(message);
});
post([{ kind: 'ready' }]);
