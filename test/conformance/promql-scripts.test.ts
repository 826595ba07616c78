// Prometheus' and Thanos' own PromQL test scripts against our parser and engine. Cases that are known to fail stand in
// unsupported.txt with a reason; the list may only shrink: a listed case that passes fails the test, and so does one
// that is not there.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { hasShared, sharedPath } from '../support/shared.ts';
import { runScript } from './script-runner.ts';

const FOLDERS = [
  ['prometheus', 'conformance/promql/prometheus+prometheus/promql/promqltest/testdata'],
  ['thanos', 'conformance/promql/thanos-io+thanos/pkg/query/testdata/promql/thanos'],
] as const;

/** `source/file:line` of cases that are known to fail. */
function knownFailures(): Set<string> {
  const file = fileURLToPath(new URL('unsupported.txt', import.meta.url));
  const ids = new Set<string>();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const match = /^(\S+:\d+) \S/.exec(line);
    if (match !== null) ids.add(match[1]!);
    else if (line !== '' && !line.startsWith('#'))
      throw new Error(`unsupported.txt: malformed line: ${line}`);
  }
  return ids;
}

describe.each(FOLDERS)('%s', (source, folder) => {
  const folderPath = sharedPath(folder);
  const files = hasShared(folder) ? readdirSync(folderPath).filter((file) => file.endsWith('.test')) : [];
  test.skipIf(files.length === 0).each(files.length === 0 ? ['none'] : files)('%s', async (file) => {
    const results = await runScript(readFileSync(path.join(folderPath, file), 'utf8'));
    const known = knownFailures();
    const idOf = (line: number): string => `${source}/${file}:${line}`;
    const surprises = results
      .filter(({ line, failure }) => (failure === undefined) === known.has(idOf(line)))
      .map(
        ({ line, query, failure }) =>
          `${idOf(line)} ${query}: ${failure ?? 'passes: take it off unsupported.txt'}`,
      );
    expect(surprises).toEqual([]);
    const lines = new Set(results.map(({ line }) => idOf(line)));
    const stale = [...known].filter((id) => id.startsWith(`${source}/${file}:`) && !lines.has(id));
    expect(stale, 'unsupported.txt names cases that do not exist').toEqual([]);
  });
});
