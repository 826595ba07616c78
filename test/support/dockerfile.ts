// What deploy/docker/Dockerfile says of the final image, as far as the tests of its users need it.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { repositoryRoot } from './programs.ts';

export interface ImageDescription {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  /** Without what names a folder that only RUN lines make, `compileCache`. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where node keeps compiled code. */
  readonly compileCache: string;
  /** Shell lines of each RUN that the user of the image runs, in order. */
  readonly userRuns: readonly string[];
  /** `[source…, target]` of each COPY from the build context, in order. */
  readonly copies: readonly (readonly string[])[];
  readonly user: string;
}

/** Reads the Dockerfile: continued lines joined, comments dropped, `ENV NAME=value` and JSON forms only. */
export function readDockerfile(): ImageDescription {
  const text = readFileSync(path.join(repositoryRoot, 'deploy/docker/Dockerfile'), 'utf8');
  const instructions = text
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line !== '');
  const final = instructions.slice(instructions.findLastIndex((line) => line.startsWith('FROM ')));
  const all = (word: string, lines = final): string[] =>
    lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
  const environment = all('ENV').flatMap((line) => line.split(/\s+/).map((pair) => pair.split('=')));
  const { NODE_COMPILE_CACHE: compileCache, ...others } = Object.fromEntries(environment) as Record<
    string,
    string
  >;
  const user = final.findIndex((line) => line.startsWith('USER '));
  return {
    entrypoint: JSON.parse(all('ENTRYPOINT')[0]!) as string[],
    command: JSON.parse(all('CMD')[0]!) as string[],
    environment: others,
    compileCache: compileCache!,
    userRuns: all('RUN', final.slice(user)),
    copies: all('COPY', instructions)
      .filter((line) => !line.startsWith('--from='))
      .map((line) => line.split(/\s+/)),
    user: all('USER')[0]!,
  };
}
