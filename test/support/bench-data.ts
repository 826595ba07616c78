// The shared benchmark's data and its twelve queries: remote-write bodies made of real node-exporter scrapes.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { sharedPath } from './shared.ts';
import { freshFolder } from './tidemark.ts';

export interface BenchDataOptions {
  readonly targets: number;
  readonly scrapes: number;
  readonly stepMs: number;
  /** Unix ms of the first scrape. */
  readonly startMs: number;
}

/** Bodies as a Prometheus sends them, in order. */
export function makeBenchBodies(options: BenchDataOptions): Buffer[] {
  const file = path.join(freshFolder(), 'replay');
  execFileSync(process.execPath, [
    sharedPath('bench', 'gen.mjs'),
    file,
    ...['--targets', String(options.targets), '--scrapes', String(options.scrapes)],
    ...['--step-ms', String(options.stepMs), '--start-ms', String(options.startMs)],
  ]);
  const bytes = readFileSync(file);
  const bodies: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    bodies.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return bodies;
}

export interface BenchQuery {
  readonly name: string;
  readonly query: string;
  /** Seconds; 0: an instant query. */
  readonly step: number;
}

export function benchQueries(): BenchQuery[] {
  const rows = JSON.parse(readFileSync(sharedPath('bench', 'queries.json'), 'utf8')) as [
    string,
    string,
    number,
  ][];
  return rows.map(([name, query, step]) => ({ name, query, step }));
}
