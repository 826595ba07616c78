import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { repositoryRoot } from '../test/support/programs.ts';
import { COMPILE_CACHE } from '../test/support/run-folder.ts';

const folder = path.join(repositoryRoot, 'load-tests');
/** Those that take flags by name. */
const programs = globSync('*.ts', { cwd: folder }).filter(
  (name) => !name.endsWith('.test.ts') && name !== 'command-line.ts' && takesFlags(name),
);

function takesFlags(name: string): boolean {
  return /\b(readFlags|parseArgs)\(/.test(readFileSync(path.join(folder, name), 'utf8'));
}

describe('programs', () => {
  test.each(programs)('%s explains itself, and starts nothing with a flag that it does not know', (name) => {
    const run = (flag: string) =>
      spawnSync(process.execPath, [path.join(folder, name), flag], {
        env: { ...COMPILE_CACHE, ...process.env },
        encoding: 'utf8',
        timeout: 60_000,
      });
    const help = run('--help');
    expect(help).toMatchObject({ status: 0, stderr: '' });
    expect(help.stdout).toMatch(/usage: .*\n\n {2}--/);
    const refused = run('--nonsense');
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toBe("Unknown option '--nonsense'; --help lists the flags\n");
  });
});
