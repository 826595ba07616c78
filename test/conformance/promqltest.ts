// `npm run promqltest -- FILE…`: runs PromQL test scripts and prints each failure with its line, query, and what was
// expected and got. Last line: `N passed, N failed`; exit code 1 when any failed.
import { readFile } from 'node:fs/promises';
import { runScript } from './script-runner.ts';

async function main(files: readonly string[]): Promise<number> {
  if (files.length === 0) {
    console.error('usage: npm run promqltest -- FILE…');
    return 2;
  }
  let passed = 0;
  let failed = 0;
  for (const file of files) {
    for (const { line, query, failure } of await runScript(await readFile(file, 'utf8'))) {
      if (failure === undefined) {
        passed++;
        continue;
      }
      failed++;
      console.log(`${file}:${line}: ${query}\n  ${failure}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
