// Proves that each rule of .dependency-cruiser.cjs bites: a file that breaks it is reported, by that rule's name.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const rules = (
  createRequire(import.meta.url)(path.join(root, '.dependency-cruiser.cjs')) as {
    forbidden: { name: string }[];
  }
).forbidden.map((rule) => rule.name);

/** For each rule: files of a small tree that break it, and nothing else that matters. */
const BREACHES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ...Object.fromEntries(
    ['core', 'model', 'tsdb', 'promql', 'exposition', 'relabel', 'rules', 'placement', 'discovery'].map(
      (folder) => [
        `layer-${folder}`,
        { [`services/lib/${folder}/breach.ts`]: "import '../distributor/target.ts';" },
      ],
    ),
  ),
  'layer-wire': { 'services/lib/wire/breach.ts': "import '../transport/target.ts';" },
  'layer-runtime': { 'services/lib/runtime/breach.ts': "import '../transport/target.ts';" },
  'layer-objstore': { 'services/lib/objstore/breach.ts': "import '../transport/target.ts';" },
  'layer-transport': { 'services/lib/transport/breach.ts': "import '../distributor/target.ts';" },
  'layer-distributor': { 'services/lib/distributor/breach.ts': "import '../promql/target.ts';" },
  'lib-knows-no-service': { 'services/lib/distributor/breach.ts': "import '../../store/target.ts';" },
  'services-meet-in-proto': { 'services/querier/breach.ts': "import '../store/target.ts';" },
  'generated-code-behind-wire': { 'services/querier/breach.ts': "import '../lib/wire/gen/target.ts';" },
  'network-libraries-behind-transport': {
    'services/querier/breach.ts': "import '@grpc/grpc-js';",
    'node_modules/@grpc/grpc-js/package.json': '{"name":"@grpc/grpc-js","version":"1.0.0","main":"index.js"}',
    'node_modules/@grpc/grpc-js/index.js': '',
  },
  'object-storage-library-behind-objstore': {
    'services/querier/breach.ts': "import 'aws4fetch';",
    'node_modules/aws4fetch/package.json': '{"name":"aws4fetch","version":"1.0.0","main":"index.js"}',
    'node_modules/aws4fetch/index.js': '',
  },
  'no-tests-in-products': { 'services/querier/breach.ts': "import '../../test/target.ts';" },
  'no-cycles': {
    'services/querier/breach.ts': "import './other.ts';",
    'services/querier/other.ts': "import './breach.ts';",
  },
  'no-unresolvable': { 'services/querier/breach.ts': "import './missing.ts';" },
  'no-dev-dependencies-in-products': {
    'services/querier/breach.ts': "import 'only-dev';",
    'node_modules/only-dev/package.json': '{"name":"only-dev","version":"1.0.0","main":"index.js"}',
    'node_modules/only-dev/index.js': '',
  },
};

let tree: string;

beforeAll(() => {
  tree = mkdtempSync(path.join(tmpdir(), 'tidemark-layout-'));
  cpSync(path.join(root, '.dependency-cruiser.cjs'), path.join(tree, '.dependency-cruiser.cjs'));
  cpSync(path.join(root, 'tsconfig.json'), path.join(tree, 'tsconfig.json'));
  mkdirSync(path.join(tree, 'node_modules'));
  symlinkSync(path.join(root, 'node_modules/typescript'), path.join(tree, 'node_modules/typescript'));
  writeFileSync(
    path.join(tree, 'package.json'),
    '{"name":"tree","type":"module","dependencies":{"@grpc/grpc-js":"1"},"devDependencies":{"only-dev":"1"}}',
  );
  for (const folder of [
    'lib/distributor',
    'lib/transport',
    'lib/promql',
    'lib/wire/gen',
    'store',
    '../test',
  ]) {
    write(`services/${folder}/target.ts`, 'export {};');
  }
});

afterAll(() => rmSync(tree, { recursive: true, force: true }));

function write(file: string, text: string): void {
  const target = path.join(tree, file);
  mkdirSync(path.dirname(target), { recursive: true });
  writeFileSync(target, text);
}

function cruise(): string[] {
  const command = path.join(root, 'node_modules/.bin/depcruise');
  const { stdout } = spawnSync(
    process.execPath,
    [command, '--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'services'],
    { cwd: tree, encoding: 'utf8', maxBuffer: 64 << 20 },
  );
  const result = JSON.parse(stdout) as { summary: { violations: { rule: { name: string } }[] } };
  return result.summary.violations.map((violation) => violation.rule.name);
}

test('every rule has a breach here', () => {
  expect(Object.keys(BREACHES).sort()).toEqual([...rules].sort());
});

test('the tree without a breach is clean', () => {
  expect(cruise()).toEqual([]);
});

test.each(Object.keys(BREACHES))('%s bites', (rule) => {
  const files = BREACHES[rule]!;
  for (const [file, text] of Object.entries(files)) write(file, text);
  try {
    expect(cruise()).toContain(rule);
  } finally {
    for (const file of Object.keys(files)) rmSync(path.join(tree, file), { force: true });
  }
});
