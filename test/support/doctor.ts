// What `tidemark doctor` says of a cluster, as a person asks it.
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { repositoryRoot } from './programs.ts';
import { COMPILE_CACHE } from './run-folder.ts';

/** @param url  Of a gateway. */
export async function askDoctor(url: string): Promise<string> {
  const args = ['services/gateway/tidemark.ts', 'doctor', `--url=${url}`];
  const child = spawn(process.execPath, args, {
    cwd: repositoryRoot,
    env: { ...COMPILE_CACHE, ...process.env },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return await text(child.stdout);
}
