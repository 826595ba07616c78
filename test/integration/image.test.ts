// What the image holds, proved without an engine: the file tree that deploy/docker/Dockerfile copies, with the production dependencies
// alone, owned by root and run by nobody in particular.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readDockerfile } from '../support/dockerfile.ts';
import { startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, repositoryRoot, waitFor } from '../support/programs.ts';
import { SERVICES } from '../support/service-command.ts';

const image = readDockerfile();
/** The image's root. */
let root = '';
const app = (): string => path.join(root, 'app');
const node = (): string => path.join(root, 'usr/local/bin/node');

/** Packages that `npm ci --omit=dev` installs, without the runtime, which the image has elsewhere. */
function productionPackages(): readonly string[] {
  const lock = JSON.parse(readFileSync(path.join(repositoryRoot, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean; optional?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(([name, { dev, devOptional }]) => name !== '' && dev !== true && devOptional !== true)
    .map(([name]) => name)
    .filter((name) => !/^node_modules\/node(\/|$)/.test(name));
}

/** What .dockerignore leaves out of `services`. */
const isIgnored = (file: string): boolean => /\.(test|bench)\.ts$/.test(file);

beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), 'image-'));
  chmodSync(root, 0o755);
  for (const copy of image.copies) {
    const target = copy.at(-1)!;
    for (const source of copy.slice(0, -1)) {
      const to = path.resolve('/app', target, target.endsWith('/') ? path.basename(source) : '');
      cpSync(path.join(repositoryRoot, source), path.join(root, to), {
        recursive: true,
        filter: (file) => !isIgnored(file),
      });
    }
  }
  for (const name of productionPackages()) {
    const from = path.join(repositoryRoot, name);
    if (existsSync(from)) cpSync(from, path.join(app(), name), { recursive: true });
  }
  mkdirSync(path.dirname(node()), { recursive: true });
  cpSync(path.join(repositoryRoot, 'node_modules/node/bin/node'), node());
  for (const folder of [path.join(root, 'data'), path.join(root, image.compileCache)]) {
    mkdirSync(folder);
    if (process.getuid?.() === 0)
      chownSync(folder, ...(image.user.split(':').map(Number) as [number, number]));
  }
  for (const line of image.userRuns) {
    const [program, args] = asUser('sh', ['-c', line]);
    const run = spawnSync(program, args, { cwd: app(), env: environment(), encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`${line}: ${run.stderr}`);
  }
}, 180_000);

afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The command as the image's user, where this process may choose; else as it is. */
function asUser(program: string, args: readonly string[]): [string, string[]] {
  const setpriv = findProgram('setpriv');
  if (process.getuid?.() !== 0 || setpriv === undefined) return [program, [...args]];
  const [uid = '', gid = ''] = image.user.split(':');
  return [setpriv, ['--reuid', uid, '--regid', gid, '--clear-groups', '--no-new-privs', program, ...args]];
}

const environment = (): Record<string, string> => ({
  PATH: `${path.dirname(node())}:/usr/bin:/bin`,
  ...image.environment,
  NODE_COMPILE_CACHE: path.join(root, image.compileCache),
  TIDEMARK_CONFIG_FILE: path.join(root, image.environment.TIDEMARK_CONFIG_FILE!),
  TIDEMARK_DATA_DIR: path.join(root, image.environment.TIDEMARK_DATA_DIR!),
});

test('every file that the Dockerfile copies is in the build context', () => {
  const ignored = readFileSync(path.join(repositoryRoot, '.dockerignore'), 'utf8').split('\n');
  const allowed = ignored.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  for (const copy of image.copies) {
    for (const source of copy.slice(0, -1)) {
      expect(existsSync(path.join(repositoryRoot, source)), source).toBe(true);
      expect(
        allowed.some((one) => source === one || source.startsWith(`${one}/`)),
        source,
      ).toBe(true);
    }
  }
  expect(image.entrypoint).toEqual(['node']);
  expect(image.user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
});

test('the image has neither tests nor development dependencies', () => {
  expect(existsSync(path.join(app(), 'node_modules/vitest'))).toBe(false);
  expect(existsSync(path.join(app(), 'node_modules/typescript'))).toBe(false);
  expect(existsSync(path.join(app(), 'services/gateway/service.test.ts'))).toBe(false);
  expect(existsSync(path.join(app(), 'services/gateway/service.ts'))).toBe(true);
});

describe('each service loads with what the image has', () => {
  test.each([...SERVICES, 'all-in-one'])('%s', (service) => {
    const [program, args] = asUser(node(), [`services/${service}/main.ts`, '--help']);
    const run = spawnSync(program, args, { cwd: app(), env: environment(), encoding: 'utf8' });
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
  });
});

test('services start with code that was compiled when the image was built', () => {
  const [program, args] = asUser(node(), ['services/ingester/main.ts', '--help']);
  const env = { ...environment(), NODE_DEBUG_NATIVE: 'COMPILE_CACHE' };
  const { stderr } = spawnSync(program, args, { cwd: app(), env, encoding: 'utf8', maxBuffer: 2 ** 26 });
  const found = stderr.split('\n').filter((line) => line.includes('retrieving transpile cache for'));
  expect(found.length).toBeGreaterThan(100);
  expect(found.filter((line) => !line.endsWith('success'))).toEqual([]);
});

test("the default command runs as the image's user, writes to /data only, passes HEALTHCHECK and ends with SIGTERM", async () => {
  const port = await freePort();
  const env = { ...environment(), TIDEMARK_WEB_LISTEN_ADDRESS: `127.0.0.1:${port}` };
  const healthcheck = (): number | null => {
    const [program, args] = asUser(node(), ['deploy/docker/healthcheck.mjs']);
    return spawnSync(program, args, { cwd: app(), env, encoding: 'utf8' }).status;
  };
  expect(healthcheck()).toBe(1);
  const [program, args] = asUser(node(), image.command);
  const running = startProcess(program, args, { cwd: app(), env });
  const url = `http://127.0.0.1:${port}`;
  await waitFor('ready', () => answers(`${url}/-/ready`), { describe: running.output });
  expect(healthcheck()).toBe(0);
  const page = await fetch(`${url}/`);
  expect(await page.text()).toContain('<title>');
  await running.end('SIGTERM');
  expect(running.exited(), running.output()).toBe(0);
  expect(existsSync(path.join(root, 'data/log'))).toBe(true);
  expect(existsSync(path.join(app(), 'data'))).toBe(false);
});
