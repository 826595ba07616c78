// The version before this one, as files: what a rolling upgrade begins from. It is the newest release tag that this commit comes after,
// or, as long as there is none, the commit named in test/e2e/previous-version (moved on with each release).
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { findProgram, repositoryRoot } from './programs.ts';
import { freshFolder } from './tidemark.ts';

const git = (...args: readonly string[]): string =>
  execFileSync('git', args, { cwd: repositoryRoot, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/**
 * A folder with its files and dependencies. Where the history does not reach back to it, in a shallow clone, it is this version's own
 * folder, and a line says so: the roll is then from a version to itself.
 */
export function previousVersionRoot(): string {
  const commit = previousCommit();
  if (commit !== undefined) return checkOutBeside(commit);
  console.warn('the version before is not in the history of this clone: rolling from this version to itself');
  return repositoryRoot;
}

function previousCommit(): string | undefined {
  if (findProgram('git') === undefined || !existsSync(path.join(repositoryRoot, '.git'))) return undefined;
  const named = readFileSync(path.join(repositoryRoot, 'test/e2e/previous-version'), 'utf8').trim();
  const tags = git('tag', '--merged', 'HEAD', '--sort=-creatordate', 'v*').split('\n');
  const tag = tags.find(
    (name) => name !== '' && git('rev-parse', `${name}^{commit}`) !== git('rev-parse', 'HEAD'),
  );
  try {
    return git('rev-parse', '--verify', '--quiet', `${tag ?? named}^{commit}`).trim();
  } catch {
    // A shallow clone.
    return undefined;
  }
}

/** Writes the commit's files to a folder of their own; dependencies are this version's, where they are the same. */
function checkOutBeside(commit: string): string {
  const root = freshFolder();
  const archive = execFileSync('git', ['archive', commit], { cwd: repositoryRoot, maxBuffer: 2 ** 30 });
  execFileSync('tar', ['-x', '-C', root], { input: archive });
  const lock = (folder: string): string => readFileSync(path.join(folder, 'package-lock.json'), 'utf8');
  if (lock(root) === lock(repositoryRoot)) {
    symlinkSync(path.join(repositoryRoot, 'node_modules'), path.join(root, 'node_modules'));
  } else {
    execFileSync('npm', ['ci', '--ignore-scripts', '--omit=dev', '--no-audit', '--no-fund'], {
      cwd: root,
      stdio: 'ignore',
    });
  }
  return root;
}
