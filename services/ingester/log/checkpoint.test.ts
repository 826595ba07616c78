import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { systemDisk } from '../../lib/core/disk.ts';
import { ExtraColumns } from '../../lib/model/extra-columns.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { StartTimes } from '../../lib/tsdb/chunk/start-times.ts';
import type { Damage, ReplayReport } from '../../lib/tsdb/log/replay.ts';
import { withDefaults } from '../options.ts';
import { type Tenant, Tenants } from '../tenants.ts';
import { CHECKPOINT_NAME, readCheckpoint, writeCheckpoint } from './checkpoint.ts';
import { Replayer } from './replay.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tidemark-checkpoint-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const newTenants = (): Tenants => new Tenants(withDefaults({ dataDir: folder }), 1);

function define(tenant: Tenant, name: string, partition: number): void {
  const labels = new ByteWriter();
  encodeLabels(Labels.from([['__name__', name]]), labels);
  tenant.head.define(labels.bytes, 0, labels.length, partition);
}

function filled(): Tenants {
  const tenants = newTenants();
  for (const name of ['a', 'b']) {
    const tenant = tenants.getOrMake(name);
    tenant.generationNext = 7;
    tenant.leftBeforeMs = 1_700_000_000_000;
    tenant.metadata.update([{ metric: 'm', type: 'counter', help: name, unit: 's' }]);
    for (let i = 0; i < 6000; i++) define(tenant, `${name}${'x'.repeat(80)}${i}`, i % 64);
  }
  return tenants;
}

async function read(): Promise<{
  tenants: Tenants;
  report: ReplayReport;
  damage: Damage[];
  replayer: Replayer;
}> {
  const tenants = newTenants();
  const replayer = new Replayer(tenants);
  const report: ReplayReport = { records: 0, bytes: 0, quarantined: 0, truncatedBytes: 0 };
  const damage: Damage[] = [];
  await readCheckpoint(folder, replayer.apply.bind(replayer), report, {
    disk: systemDisk,
    clock: systemClock,
    onDamage: (found) => damage.push(found),
  });
  replayer.finish();
  return { tenants, report, damage, replayer };
}

/** Everything a checkpoint is for, as text. */
function describe(tenants: Tenants): string[] {
  const lines: string[] = [];
  for (const { name, head, metadata, generationNext, leftBeforeMs } of tenants.all()) {
    lines.push(`${name} ${generationNext} ${leftBeforeMs} ${JSON.stringify(metadata.list('', 0))}`);
    const labels = new ByteWriter();
    for (let id = 0; id < head.idEnd; id++) {
      labels.reset();
      head.index.writeLabels(id, labels);
      lines.push(
        `${id} ${head.partitionOf(id)} ${Buffer.from(labels.bytes.subarray(0, labels.length)).toString()}`,
      );
    }
  }
  return lines;
}

test('all series, their ids, metadata and marks come back; the log knows the series', async () => {
  const tenants = filled();
  await writeCheckpoint(folder, tenants, 12, systemDisk);
  await writeCheckpoint(folder, tenants, 13, systemDisk);
  const back = await read();
  expect(back.damage).toEqual([]);
  expect(back.replayer.checkpointSegment).toBe(13);
  expect(describe(back.tenants)).toEqual(describe(tenants));
  expect(back.tenants.get('b')!.head.isLogged(17)).toBe(true);
});

test('no checkpoint, and one that was not finished, are nothing', async () => {
  writeFileSync(path.join(folder, `${CHECKPOINT_NAME}.tmp`), 'half');
  const back = await read();
  expect(back.tenants.all()).toEqual([]);
  expect(back.damage).toEqual([]);
});

test('a damaged record costs its own series only, and is noticed', async () => {
  await writeCheckpoint(folder, filled(), 12, systemDisk);
  const file = path.join(folder, CHECKPOINT_NAME);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 4;
  writeFileSync(file, bytes);
  const back = await read();
  expect(back.report.quarantined).toBe(1);
  const held = back.tenants.all().reduce((sum, { head }) => sum + head.seriesCount, 0);
  expect(held).toBeGreaterThan(6000);
  expect(held).toBeLessThan(12_000);
});

test('start times come back, and hold for samples that come later', async () => {
  const tenants = newTenants();
  const tenant = tenants.getOrMake('a');
  define(tenant, 'm', 1);
  const extras = new ExtraColumns();
  extras.addStartTime(0, 1000, 500);
  extras.addStartTime(0, 3000, 0);
  tenant.head.appendExtras(extras, 1);
  await writeCheckpoint(folder, tenants, 5, systemDisk);
  const { tenants: back, replayer } = await read();
  expect(replayer.unknownSamples).toBe(0);
  const { head } = back.get('a')!;
  const found = new StartTimes();
  head.startTimes.read(0, found);
  found.settle();
  expect([found.timestampsMs, found.startsMs]).toEqual([
    [1000, 3000],
    [500, 0],
  ]);
});
