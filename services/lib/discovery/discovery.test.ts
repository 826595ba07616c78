import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../../../test/support/programs.ts';
import { systemClock } from '../core/clock.ts';
import { Labels } from '../model/labels.ts';
import type { TargetGroup } from '../runtime/config/discovery-config.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import { createDiscovery, type Discovery } from './discovery.ts';
import { createDiscoverySources } from './discovery-sources.ts';
import { parseTargetFile } from './target-file.ts';

function folder(): string {
  const made = mkdtempSync(path.join(tmpdir(), 'tidemark-sd-'));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

interface Running {
  readonly discovery: Discovery;
  changes: number;
  errors: number;
}

async function start(files: readonly string[], refreshIntervalMs = 3_600_000): Promise<Running> {
  const running = { changes: 0, errors: 0 };
  const environment = { clock: systemClock, logger: createSilentLogger() };
  const discovery = createDiscovery(
    {
      staticConfigs: [{ targets: ['static:1'], labels: Labels.empty, source: '0' }],
      fileSdConfigs: [{ files, refreshIntervalMs }],
    },
    {
      ...environment,
      onChange: () => running.changes++,
      onError: () => running.errors++,
      sources: createDiscoverySources({ ...environment, registry: new Registry() }),
    },
  );
  await discovery.start();
  onTestFinished(() => discovery.stop());
  return Object.assign(running, { discovery });
}

function targetsOf(discovery: Discovery): string[] {
  return discovery.groups().flatMap((group: TargetGroup) => [...group.targets]);
}

describe('files', () => {
  test('JSON and YAML, with the labels that Prometheus gives them', async () => {
    const made = folder();
    const json = path.join(made, 'a.json');
    writeFileSync(json, '[\n\t{"targets": ["h1:1", "h2:2"], "labels": {"env": "x"}}\n]');
    writeFileSync(path.join(made, 'b.yml'), '- targets: [h3:3]\n- targets: []\n  labels: {a: b}\n');
    const { discovery } = await start([path.join(made, '*.json'), path.join(made, '*.yml')]);
    const groups = discovery.groups();
    expect(targetsOf(discovery)).toEqual(['static:1', 'h1:1', 'h2:2', 'h3:3']);
    expect(Object.fromEntries(groups[1]!.labels.entries())).toEqual({ env: 'x', __meta_filepath: json });
    expect(groups[1]!.source).toBe(`${json}:0`);
  });

  test('a change is seen at once, a damaged file keeps its last good targets, a deleted one takes them along', async () => {
    const made = folder();
    const file = path.join(made, 'a.json');
    writeFileSync(file, '[{"targets": ["one"]}]');
    const running = await start([path.join(made, '*.json')]);
    const { discovery } = running;
    expect(targetsOf(discovery)).toEqual(['static:1', 'one']);

    writeFileSync(file, '[{"targets": ["two"]}]');
    await waitFor('the change', async () => targetsOf(discovery).includes('two'));
    expect(running.changes).toBeGreaterThan(0);

    const errors = running.errors;
    writeFileSync(file, '[{"targets": ["th');
    await waitFor('the error', async () => running.errors > errors);
    expect(targetsOf(discovery)).toEqual(['static:1', 'two']);

    writeFileSync(path.join(made, 'new.tmp'), '[{"targets": ["three"]}]');
    renameSync(path.join(made, 'new.tmp'), file);
    await waitFor('the replaced file', async () => targetsOf(discovery).includes('three'));

    rmSync(file);
    await waitFor('the deletion', async () => targetsOf(discovery).length === 1);
  });

  test('a folder that comes later is found by the regular refresh', async () => {
    const made = path.join(folder(), 'later');
    const { discovery } = await start([path.join(made, '*.json')], 50);
    mkdirSync(made);
    writeFileSync(path.join(made, 'x.json'), '[{"targets": ["late"]}]');
    await waitFor('the refresh', async () => targetsOf(discovery).includes('late'));
  });
});

describe('parseTargetFile', () => {
  test.each<[string, string]>([
    [
      '[{"targets": ["a"], "label": {}}]',
      '/x.json:1:21: [0].label: unknown key "label"; did you mean labels?',
    ],
    ['[{"targets": "a"}]', 'stands where a list is expected'],
    ['{"targets": ["a"]}', 'the file must be a list of groups'],
    ['[null]', 'is empty'],
    ['- targets: [a]\n  labels: {"": x}\n', 'is not a valid label name'],
    ['[', 'malformed YAML'],
  ])('%j: %s', (text, problem) => {
    expect(() => parseTargetFile(text, '/x.json')).toThrow(problem);
  });

  test('an empty file has no targets', () => {
    expect(parseTargetFile('', '/x.yml')).toEqual([]);
  });
});
