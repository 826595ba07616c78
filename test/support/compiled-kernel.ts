// AssemblyScript's compiler as the tests of kernels ask it: whether a committed module is what its sources make.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { main } from 'assemblyscript/asc';
import { repositoryRoot } from './programs.ts';

/**
 * Compiles sources of a kernel as package.json's scripts do.
 *
 * @param folder  Of the kernel, from the repository's root: its sources stand in assembly/.
 * @returns       What the compiler made, and kernel.wasm as it is committed.
 */
export async function compileKernel(
  folder: string,
  sources: readonly string[],
): Promise<{ readonly made: Buffer; readonly committed: Buffer }> {
  const files = sources.map((name) => `${folder}/assembly/${name}.ts`);
  const config = `${folder}/assembly/asconfig.json`;
  let made = Buffer.alloc(0);
  const { error } = await main([...files, '--config', config, '--outFile', 'kernel.wasm'], {
    writeFile: (name, contents) => {
      if (name.endsWith('kernel.wasm')) made = Buffer.from(contents);
    },
  });
  if (error !== null) throw error;
  return { made, committed: readFileSync(path.join(repositoryRoot, folder, 'kernel.wasm')) };
}
