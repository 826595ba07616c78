// An ingester that was given up, comes back with its old disk, and was not asked for deletes meanwhile: real logs, calls in this process.
import { afterEach, expect, test } from 'vitest';
import { FakeControlPlane } from '../../../test/support/fake-control-plane.ts';
import { waitFor } from '../../../test/support/programs.ts';
import { ReplicaRig } from '../../../test/support/replica-rig.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import { type DoneDelete, MatchType } from '../../lib/wire/contracts.ts';

const START_MS = 1_700_000_000_000;
const ABC = ['a', 'b', 'c'];
const [DELETED, TAKEN_BACK, FAILED, KEPT] = ['s0', 's1', 's2', 's3'] as const;
const SERIES = [DELETED, TAKEN_BACK, FAILED, KEPT];
const { signal } = new AbortController();

let rig: ReplicaRig | undefined;
afterEach(() => rig?.close());

const deleteOf = (series: string, digit: string, instances: readonly string[], epoch = 2) => ({
  ...{ tenant: DEFAULT_TENANT, deleteId: digit.repeat(32), createdAtMs: 1, actor: 'test' },
  matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'series', value: series }],
  ...{ minTimeMs: 0, maxTimeMs: 2 ** 52, asked: { instances: [...instances], epoch } },
});

test('an ingester that was given up does what was deleted meanwhile before it answers, once, and shows what came since', async () => {
  const told: DoneDelete[] = [];
  const control = new FakeControlPlane();
  rig = new ReplicaRig({
    instances: ABC,
    absences: { control, absenceMs: 600_000, told: () => told },
  });
  for (const instance of ABC) await rig.start(instance);
  rig.isPlaced = true;
  const replicas = rig;
  const seen = async () =>
    [...(await replicas.contentOf('c')).keys()].map((key) => key.replace('w/', '')).sort();
  for (let i = 0; i < 10; i++) await rig.write(SERIES, START_MS + i * 1000, i);
  // Asked for while it was a member, and failed elsewhere: whoever asked knows that it is not done.
  told.push({ delete: deleteOf(FAILED, '1', ABC), undone: false, complete: false });
  await rig.stop('c');
  rig.place(['a', 'b']);
  rig.forgetFormer();
  const missed = deleteOf(DELETED, '2', ['a', 'b', 'store']);
  for (const instance of ['a', 'b'])
    await waitFor(`${instance} deletes`, () =>
      replicas
        .of(instance)
        .client.deleteSeries(missed, { signal })
        .then(
          () => true,
          () => false,
        ),
    );
  told.push({ delete: missed, undone: false, complete: false });
  told.push({ delete: deleteOf(TAKEN_BACK, '3', ['a', 'b']), undone: false, complete: false });
  told.push({ delete: { ...deleteOf(TAKEN_BACK, '3', []), matchers: [] }, undone: true, complete: false });
  await rig.start('c');
  expect(await seen()).toEqual([TAKEN_BACK, FAILED, KEPT]);
  // Who is listed anew asks the stores before it takes anything; who writes waits for that.
  rig.place(ABC);
  // The same series and a time of before, written again.
  await rig.write([DELETED], START_MS + 5_500, 5);
  await waitFor('c has it', async () => (await seen()).includes(DELETED));
  for (let restart = 0; restart < 2; restart++) {
    await rig.stop('c');
    await rig.start('c');
    expect([...((await rig.contentOf('c')).get(`w/${DELETED}`)?.keys() ?? [])]).toEqual([START_MS + 5_500]);
  }
}, 60_000);
