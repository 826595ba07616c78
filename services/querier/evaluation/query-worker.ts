// The module of the querier's worker threads.
import { parentPort } from 'node:worker_threads';
import { assert } from '../../lib/core/assert.ts';
import { ParsedQueries } from '../../lib/query/parsed-queries.ts';
import { serveTasks } from '../../lib/runtime/worker-tasks.ts';
import { evaluateTask } from './evaluation.ts';
import type { EvaluationOrder, FromEvaluation, ToEvaluation } from './evaluation-messages.ts';
import { SharedBuffers } from './shared-buffers.ts';

assert(parentPort !== null, 'query-worker.ts is started as a worker thread');
const kept = { buffers: new SharedBuffers(), parsed: new ParsedQueries() };
serveTasks<EvaluationOrder, ToEvaluation, FromEvaluation>(parentPort, (order, channel) =>
  evaluateTask(order, channel, kept),
);
