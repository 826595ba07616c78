// `tidemark doctor` on a real cluster that is sent too much, by two senders at once, whose ingester has a small disk and is called in plaintext
// over an address of the network: each is named with its remedy, and the disk no more once it has room.
import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startCluster } from '../support/cluster.ts';
import { askDoctor } from '../support/doctor.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { encodeWriteRequest, postWrite, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { freshFolder } from '../support/tidemark.ts';

const INTERVAL_MS = 15_000;
const SERIES_MAX = 20;
const INSECURE = ['--cluster.insecure'];

function mountSmallDisk(): string | undefined {
  const folder = freshFolder();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    console.warn('not run: doctor about a disk near its watermark, for want of the right to mount a tmpfs');
    return undefined;
  }
  onTestFinished(() => {
    execFileSync('umount', ['-l', folder], { stdio: 'ignore' });
  });
  return folder;
}

/** Leaves this much free. */
function fillTo(folder: string, freeBytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(path.join(folder, 'filling'), Buffer.alloc(bavail * bsize - freeBytes));
}

const up = (instance: string, offsetMs: number) => {
  const labels = { __name__: 'up', job: 'j', instance };
  const firstMs = Date.now() - 12 * INTERVAL_MS + offsetMs;
  const samples = Array.from({ length: 12 }, (_, i): [number, number] => [firstMs + i * INTERVAL_MS, 1]);
  return snappyLiterals(encodeWriteRequest([{ labels, samples }]));
};

test.skipIf(!hasPrograms('nats-server'))(
  'doctor names a sender that is answered 429, a pair that is not told apart, and an ingester whose disk fills',
  { timeout: 180_000 },
  async () => {
    const disk = mountSmallDisk();
    const cluster = await startCluster({
      counts: { ingester: 1, store: 1, querier: 1, gateway: 1 },
      // This machine, as any other address that is not loopback.
      advertise: async (instance, port) => (instance === 'ingester-0' ? `0.0.0.0:${port}` : undefined),
      flags: {
        ...{ store: INSECURE, gateway: INSECURE },
        querier: [...INSECURE, '--query.rehearsal=true', '--log.level=debug'],
        ingester: [
          ...INSECURE,
          ...['--cluster.replication-factor=1', '--store.replication-factor=1'],
          ...[
            `--ingest.max-series=${SERIES_MAX}`,
            ...(disk === undefined ? [] : [`--data.dir=${disk}/data`]),
          ],
        ],
      },
    });
    const { url } = cluster.of('gateway')[0]!;
    const doctor = (): Promise<string> => askDoctor(url);
    expect(cluster.of('querier')[0]!.output()).toMatch(/queries rehearsed[\s\S]*querier started/);
    const complaints = {
      plaintext: /warning: services call each other in plaintext over a network \(ingester ingester-0\)/,
      quota: /warning: \d+ writes were answered 429 [\s\S]*retry_on_http_429/,
      twins:
        /warning: 1 targets are sent by two senders who are not told apart, [\s\S]*\{instance="twice", job="j"\}[\s\S]*external label/,
      nearlyFull: /warning: the disk of ingester ingester-0 has .* free; under .* it refuses writes/,
      full: /error: the disk of ingester ingester-0 has .* free, under the watermark of .*: it refuses writes/,
    };
    const says = async (what: keyof typeof complaints, isSaid = true): Promise<void> => {
      let said = '';
      await waitFor(
        `doctor ${isSaid ? 'names' : 'names no more'} ${what}`,
        async () => {
          said = await doctor();
          return complaints[what].test(said) === isSaid;
        },
        { timeoutMs: 60_000, describe: () => `${said}\n${cluster.describe()}` },
      );
    };
    for (const [instance, offsetMs] of [
      ['once', 0],
      ['twice', 0],
      ['twice', 4_000],
    ] as const)
      expect(await sendWrite(url, up(instance, offsetMs))).toBe(204);
    await says('twins');
    await says('plaintext');
    for (const complaint of [complaints.quota, complaints.full, complaints.nearlyFull])
      expect(await doctor()).not.toMatch(complaint);
    const many = Array.from({ length: 2 * SERIES_MAX }, (_, i) => ({
      labels: { __name__: 'many', i: `${i}` },
      samples: [[Date.now(), i]] as const,
    }));
    expect((await postWrite(url, snappyLiterals(encodeWriteRequest(many)))).status).toBe(429);
    await says('quota');
    if (disk === undefined) return;
    // The watermark is a twentieth: 3.2 MiB.
    fillTo(disk, 6 << 20);
    await says('nearlyFull');
    rmSync(path.join(disk, 'filling'));
    fillTo(disk, 2 << 20);
    await says('full');
    rmSync(path.join(disk, 'filling'));
    await says('full', false);
  },
);
