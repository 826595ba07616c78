// Entry of the fetch thread: connects its port with a desk.
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../lib/core/clock.ts';
import { FetchDesk } from './fetch-desk.ts';
import type { FetchThreadData, FromFetchThread, ToFetchThread } from './fetch-messages.ts';

const port = parentPort!;
const desk = new FetchDesk(workerData as FetchThreadData, {
  clock: systemClock,
  post: (message: FromFetchThread) => port.postMessage(message),
});
port.on('message', (message: ToFetchThread) => desk.accept(message));
port.postMessage({ kind: 'ready' } satisfies FromFetchThread);
