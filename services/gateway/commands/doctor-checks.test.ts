import { describe, expect, test } from 'vitest';
import type { StoreMoves } from '../api/store-moves-api.ts';
import { diagnose } from './doctor-checks.ts';
import { printFindings } from './doctor-command.ts';
import type { Examined } from './doctor-finding.ts';
import { printBytes, printMoves } from './moves-table.ts';
import type { MembersAnswer } from './status-table.ts';

const NOW_MS = Date.parse('2026-06-01T00:00:00Z');
type Member = MembersAnswer['members'][number];

const member = (service: string, index: number, changes: Partial<Member> = {}): Member => ({
  ...{ service, instance: `${service}-${index}`, zone: `z${index}`, version: '1.0.0', state: 'ready' },
  ...{ grpcAddress: '', httpAddress: '', heartbeatAgeSeconds: 0.5, partitionsOwned: 0 },
  ...changes,
});

const store = (index: number, changes: Partial<StoreMoves> = {}): StoreMoves => ({
  ...{
    instance: `store-${index}`,
    zone: `z${index}`,
    state: 'live',
    obstacle: '',
    heldBlocks: 3,
    heldBytes: 3000,
  },
  ...{ missingBlocks: 0, missingBytes: 0, surplusBlocks: 0, surplusBytes: 0, bytesPerSecond: 0, moves: [] },
  ...{
    remainingSeconds: 0,
    quarantinedBlocks: 0,
    scrubbedSince: '2026-05-30T00:00:00Z',
    scrubCorruptBlocks: 0,
    bucket: null,
  },
  ...{ diskFreeBytes: 500, diskTotalBytes: 1000, clockAheadSeconds: 0.01 },
  ...changes,
});

const BUCKET = {
  ...{ name: 's3://b/', blocks: 3, pendingBlocks: 0, pendingBytes: 0, upload: null, obstacle: '' },
  ...{ evictedBlocks: 0, evictedBytes: 0, cacheBytes: 0, cacheBytesMax: 0 },
};

/** A cluster with nothing wrong. */
function sound(): Examined {
  const ingesters = [0, 1, 2].map((index) => member('ingester', index));
  const stores = [0, 1].map((index) => member('store', index));
  return {
    members: {
      ...{
        controlPlane: 'reachable',
        epoch: 4,
        partitions: 64,
        replicationFactor: 3,
        storeReplicationFactor: 2,
      },
      members: [...ingesters, ...stores, member('gateway', 0)],
    },
    moves: { replicationFactor: 2, missingBytes: 0, remainingSeconds: 0, stores: [store(0), store(1)] },
    flags: {
      ...{ 'nats.url': 'nats://a:4222,nats://b:4222,nats://c:4222', 'nats.replicas': '3' },
      ...{ 'storage.tsdb.retention.time': '15d', 'ingest.out-of-order-window': '0' },
    },
  };
}

const withMembers = (
  change: (members: Member[]) => Member[],
  more: Partial<Examined['members']> = {},
): Examined => {
  const base = sound();
  return { ...base, members: { ...base.members, ...more, members: change([...base.members.members]) } };
};
const withStores = (...stores: StoreMoves[]): Examined => ({
  ...sound(),
  moves: { ...sound().moves, stores },
});
const withFlags = (flags: Record<string, string>): Examined => ({
  ...sound(),
  flags: { ...sound().flags, ...flags },
});
const same = (members: Member[]) => members;

test('nothing is wrong with a sound cluster, nor with a process that is one by itself', () => {
  expect(diagnose(sound(), NOW_MS)).toEqual([]);
  const alone = withMembers(() => [], { controlPlane: 'embedded', epoch: 0, replicationFactor: 1 });
  expect(diagnose({ ...alone, moves: { ...alone.moves, stores: [] } }, NOW_MS)).toEqual([]);
  expect(printFindings([])).toBe('nothing is wrong as far as the gateway knows\n');
});

describe('one thing is wrong, and only that is named', () => {
  test.each<[string, Examined, 'error' | 'warning', RegExp, RegExp]>([
    [
      'NATS is away',
      withMembers(same, { controlPlane: 'unreachable' }),
      'error',
      /cannot reach NATS/,
      /--nats\.url/,
    ],
    [
      'no placement',
      withMembers(same, { epoch: 0 }),
      'error',
      /no placement is known/,
      /start at least one ingester/,
    ],
    [
      'a store is absent',
      withMembers((members) => [...members, member('store', 7, { state: 'absent', version: '' })]),
      'error',
      /store store-7 owns data and is not there/,
      /cluster\/forget/,
    ],
    [
      'too few ingesters',
      withMembers((members) => members.filter(({ instance }) => instance !== 'ingester-2')),
      'error',
      /^2 ingesters for 3 copies of each sample$/,
      /start 1 more/,
    ],
    [
      'too few stores',
      withMembers((members) => members.filter(({ instance }) => instance !== 'store-1')),
      'error',
      /^1 stores for 2 copies of each block/,
      /start 1 more/,
    ],
    [
      'too few copies',
      withMembers(same, { replicationFactor: 2 }),
      'warning',
      /2 copies/,
      /replication-factor=3/,
    ],
    [
      'a member without a zone',
      withMembers((members) =>
        members.map((each) => (each.instance === 'ingester-1' ? { ...each, zone: '' } : each)),
      ),
      'warning',
      /ingesters ingester-1 have no zone/,
      /--cluster\.zone on all/,
    ],
    [
      'too few zones',
      withMembers((members) =>
        members.map((each) => (each.instance === 'ingester-1' ? { ...each, zone: 'z0' } : each)),
      ),
      'warning',
      /ingesters are in 2 zones \(z0, z2\), and there are 3 copies/,
      /spread ingesters over 3 zones/,
    ],
    [
      'versions mixed',
      withMembers((members) => members.map((each, i) => (i === 0 ? { ...each, version: '0.9.0' } : each))),
      'warning',
      /0\.9\.0 \(1\), 1\.0\.0 \(5\)/,
      /finish the upgrade/,
    ],
    [
      'one NATS',
      withFlags({ 'nats.url': 'nats://a:4222', 'nats.replicas': '1' }),
      'warning',
      /NATS is one server/,
      /three/,
    ],
    [
      'NATS keeps one copy',
      withFlags({ 'nats.replicas': '1' }),
      'warning',
      /3 servers and keeps 1 copy/,
      /replicas=3/,
    ],
    [
      'a clock is off',
      withStores(store(0), store(1, { clockAheadSeconds: -61.5 })),
      'error',
      /store-1 is 61\.5 s behind/,
      /NTP/,
    ],
    [
      'a disk is nearly full',
      withStores(store(0, { diskFreeBytes: 99 }), store(1)),
      'error',
      /store-0 has 99 B of 1000 B/,
      /retention/,
    ],
    [
      'a store is silent',
      withStores(store(0, { state: 'silent', obstacle: 'no answer' }), store(1)),
      'error',
      /does not answer: no answer/,
      /log/,
    ],
    [
      'corrupt blocks',
      withStores(store(0, { quarantinedBlocks: 2 }), store(1)),
      'error',
      /2 corrupt blocks/,
      /blocks-quarantine/,
    ],
    [
      'blocks that cannot be copied',
      withStores(store(0, { missingBlocks: 4, obstacle: 'no room' }), store(1)),
      'warning',
      /lacks 4 blocks and cannot copy them: no room/,
      /obstacle/,
    ],
    [
      'object storage out of reach',
      withStores(
        store(0, { bucket: { ...BUCKET, obstacle: '403 AccessDenied' } }),
        store(1, { bucket: BUCKET }),
      ),
      'warning',
      /store-0 cannot use object storage: 403 AccessDenied/,
      /obstacle/,
    ],
    [
      'object storage out of reach that has blocks which no store has',
      withStores(store(0, { bucket: { ...BUCKET, obstacle: 'no route', evictedBlocks: 7 } }), store(1)),
      'error',
      /no route; 7 blocks are there only/,
      /obstacle.* lack what is not cached/,
    ],
    [
      'no scrub',
      withStores(store(0, { scrubbedSince: '2026-03-01T00:00:00Z' }), store(1)),
      'warning',
      /2026-03-01/,
      /scrub-period/,
    ],
    [
      'short retention',
      withFlags({ 'storage.tsdb.retention.time': '3h' }),
      'warning',
      /kept for 3h/,
      /four hours/,
    ],
    [
      'a window beyond the retention',
      withFlags({ 'ingest.out-of-order-window': '20d' }),
      'warning',
      /20d old/,
      /lower/,
    ],
  ])('%s', (_, examined, severity, problem, remedy) => {
    const findings = diagnose(examined, NOW_MS);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ severity });
    expect(findings[0]!.problem).toMatch(problem);
    expect(findings[0]!.remedy).toMatch(remedy);
  });
});

test('errors come before warnings', () => {
  const both = {
    ...withFlags({ 'nats.replicas': '1' }),
    moves: withStores(store(0, { quarantinedBlocks: 1 })).moves,
  };
  expect(diagnose(both, NOW_MS).map(({ severity }) => severity)).toEqual(['error', 'warning']);
  expect(printFindings(diagnose(both, NOW_MS))).toMatch(
    /^error: .*\n {2}remedy: .*\n\nwarning: .*\n {2}remedy: .*\n$/,
  );
});

test('moves as lines', () => {
  expect(printMoves({ replicationFactor: 1, missingBytes: 0, remainingSeconds: 0, stores: [] })).toBe('');
  const text = printMoves({
    ...{ replicationFactor: 2, missingBytes: 3 << 20, remainingSeconds: 12 },
    stores: [
      store(0, { missingBytes: 3 << 20, bytesPerSecond: 262_144, remainingSeconds: 12 }),
      store(1, { state: 'absent', obstacle: 'not a live member' }),
      store(2, {
        bucket: { ...BUCKET, evictedBlocks: 7, evictedBytes: 3 << 20, cacheBytes: 1024, cacheBytesMax: 2048 },
      }),
    ],
  });
  expect(text).toMatch(/store-2 .* 7 blocks \(3\.0 MiB\) in s3:\/\/b\/ only, 1\.0 KiB of 2\.0 KiB cached/);
  expect(text).toContain('3.0 MiB are still to be copied, about 12s left, as far as stores answer');
  expect(text).toMatch(/store-0 +live +3 +2\.9 KiB +3\.0 MiB +0 B +0 +256\.0 KiB\/s +12s +2026-05-30 +-/);
  expect(text).toMatch(/store-1 +absent .* not a live member/);
  expect(printBytes(1023)).toBe('1023 B');
  expect(printBytes(5 * 2 ** 40)).toBe('5.0 TiB');
});
