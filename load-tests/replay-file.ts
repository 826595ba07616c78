// The benchmark's data: a file of remote-write bodies made from real node-exporter scrapes, by the generator under TIDEMARK_SHARED.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of the benchmark's generator and drivers. */
export const sharedBench = path.resolve(
  fileURLToPath(new URL('../', import.meta.url)),
  process.env.TIDEMARK_SHARED ?? '../shared',
  'bench',
);

export interface Replay {
  readonly file: string;
  readonly series: number;
  readonly samples: number;
  /** Unix seconds of the last scrape. */
  readonly endSeconds: number;
  /** Seconds between first and last scrape. */
  readonly spanSeconds: number;
}

/** Between two scrapes. */
export const STEP_MS = 15_000;

/** Makes `targets` × `scrapes` up to `endMs` into a file below `folder`. */
export function makeReplay(
  folder: string,
  targets: number,
  scrapes: number,
  endMs: number = Date.now(),
): Replay {
  const file = path.join(folder, 'replay.rw');
  const startMs = endMs - scrapes * STEP_MS;
  const printed = execFileSync(
    process.execPath,
    [
      path.join(sharedBench, 'gen.mjs'),
      file,
      ...['--targets', String(targets), '--scrapes', String(scrapes), '--start-ms', String(startMs)],
    ],
    { encoding: 'utf8' },
  );
  const { series, samples } = JSON.parse(printed) as { series: number; samples: number };
  const endSeconds = Math.floor((startMs + (scrapes - 1) * STEP_MS) / 1000);
  return { file, series, samples, endSeconds, spanSeconds: Math.floor(((scrapes - 1) * STEP_MS) / 1000) };
}
