// The module of the querier's worker threads.
import { parentPort } from 'node:worker_threads';
import { assert } from '../lib/core/assert.ts';
import { serveTasks } from '../lib/runtime/worker-tasks.ts';
import { evaluateTask } from './evaluation.ts';

assert(parentPort !== null, 'query-worker.ts is started as a worker thread');
serveTasks(parentPort, evaluateTask);
