// What an object store costs and how it does: requests by operation and outcome, their time, bytes both ways.
import { Counter, Histogram, type Registry } from 'prom-client';

export interface ObjstoreMetrics {
  answered(operation: string, seconds: number): void;
  /** An attempt failed; `isFinal`: it is not tried again. */
  failed(operation: string, isFinal: boolean): void;
  sent(bytes: number): void;
  received(bytes: number): void;
}

export function createObjstoreMetrics(registry: Registry): ObjstoreMetrics {
  const registers = [registry];
  const seconds = new Histogram({
    name: 'tidemark_objstore_request_duration_seconds',
    help: 'Time until object storage answered a request, by operation.',
    labelNames: ['operation'],
    buckets: [0.005, 0.025, 0.1, 0.5, 2, 10, 60],
    registers,
  });
  const failures = new Counter({
    name: 'tidemark_objstore_request_failures_total',
    help: 'Requests to object storage that failed, by operation: those tried again, and those given up.',
    labelNames: ['operation', 'result'],
    registers,
  });
  const sent = new Counter({
    name: 'tidemark_objstore_sent_bytes_total',
    help: 'Bytes of objects written to object storage.',
    registers,
  });
  const received = new Counter({
    name: 'tidemark_objstore_received_bytes_total',
    help: 'Bytes of objects read from object storage.',
    registers,
  });
  return {
    answered: (operation, time) => seconds.observe({ operation }, time),
    failed: (operation, isFinal) => failures.inc({ operation, result: isFinal ? 'given_up' : 'retried' }),
    sent: (bytes) => sent.inc(bytes),
    received: (bytes) => received.inc(bytes),
  };
}
