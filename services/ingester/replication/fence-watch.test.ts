// What an ingester takes under a lease that it may not have heard the newest of: by itself on a virtual clock, then on real logs.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { ManualClock } from '../../../test/support/fake-control-plane.ts';
import { waitFor } from '../../../test/support/programs.ts';
import { ReplicaRig } from '../../../test/support/replica-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import { computePlacement } from '../../lib/placement/placement.ts';
import { AppendOutcome, type FencesResponse } from '../../lib/wire/contracts.ts';
import { FENCE_VALID_MS, FenceWatch } from './fence-watch.ts';
import type { ReplicaPeer } from './replication-options.ts';

type Behaviour = 'away' | 'silent' | 'old version' | Partial<FencesResponse>;

const ABC = ['a', 'b', 'c'];

function watchAt(names: readonly string[], behaviours: Record<string, Behaviour>) {
  const clock = new ManualClock();
  const placement = computePlacement(
    names.map((instance) => ({ instance, zone: '' })),
    { epoch: 3, partitionCount: 8, replicationFactor: 3 },
  );
  const learned: string[] = [];
  const state = { isRecovering: false, isForgetful: false, seenEpoch: 0, asked: 0 };
  const peers = Object.keys(behaviours).map((instance) => {
    const fences = async (_: unknown, { signal }: { readonly signal: AbortSignal }) => {
      state.asked++;
      const behaviour = behaviours[instance]!;
      if (behaviour === 'away') throw new AppError('unavailable', 'refused');
      if (behaviour === 'old version')
        throw new AppError('internal', 'The server does not implement the method Fences');
      if (behaviour === 'silent')
        await new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason)),
        );
      return { tokens: [], epoch: 3, recovering: false, ...(behaviour as Partial<FencesResponse>) };
    };
    return { instance, client: { fences } } as unknown as ReplicaPeer;
  });
  const watch = new FenceWatch({
    ...{ clock, peers: () => peers },
    fences: {
      learn: (name, token) => learned.push(`${name} ${token}`),
      recall: () => {
        state.isForgetful = false;
      },
      get isForgetful() {
        return state.isForgetful;
      },
    },
    view: () =>
      state.seenEpoch > placement.epoch
        ? undefined
        : { placement, instance: 'a', quorum: 2, owned: placement.replicas.map((_, index) => index) },
    isRecovering: () => state.isRecovering,
    onEpoch: (epoch) => {
      state.seenEpoch = Math.max(state.seenEpoch, epoch);
    },
  });
  watch.start();
  onTestFinished(async () => {
    const stopped = watch.stop();
    await clock.advance(2_000);
    await stopped;
  });
  return { watch, clock, behaviours, learned, state };
}

describe('an owner of three', () => {
  test.each<[string, Behaviour, Behaviour, boolean]>([
    ['both others answer', {}, {}, true],
    ['one is away', 'away', {}, true],
    ['one never answers', 'silent', {}, true],
    ['both are away', 'away', 'away', false],
    ['one is away and one lost its disk', 'away', { recovering: true }, false],
    ['one is away and one is of an earlier version', 'away', 'old version', true],
    ['one knows a newer placement', { epoch: 4 }, { epoch: 4 }, false],
  ])('%s: it takes samples under leases: %4$s', async (_, b, c, isCurrent) => {
    const { watch, clock } = watchAt(ABC, { b, c });
    expect(watch.isCurrent()).toBe(false);
    await clock.advance(2_500);
    expect(watch.isCurrent()).toBe(isCurrent);
  });

  test('one that lost its own disk needs both others', async () => {
    const behaviours: { b: Behaviour; c: Behaviour } = { b: {}, c: 'away' };
    const { watch, clock, state } = watchAt(ABC, behaviours);
    state.isRecovering = true;
    watch.isCurrent();
    await clock.advance(2_500);
    expect(watch.isCurrent()).toBe(false);
    behaviours.c = {};
    await clock.advance(2_500);
    expect(watch.isCurrent()).toBe(true);
  });

  test.each<[string, Behaviour, Behaviour, boolean]>([
    ['both others answer', {}, {}, true],
    ['one is away', {}, 'away', false],
    ['one knows a newer placement', {}, { epoch: 4 }, false],
    [
      'both lost something, and nobody else is there to know',
      { recovering: true },
      { recovering: true },
      true,
    ],
    ['one lost something, one is of an earlier version', { recovering: true }, 'old version', true],
    ['one lost something, one is away', { recovering: true }, 'away', false],
  ])('whose file was damaged knows again what there is to know when %s: %4$s', async (_, b, c, isKnown) => {
    const { clock, state } = watchAt(ABC, { b, c });
    state.isForgetful = true;
    await clock.advance(2_500);
    expect(state.isForgetful).toBe(!isKnown);
  });

  test('what was heard is good for so long from the question, however late the answer; then no longer', async () => {
    const { watch, clock, behaviours } = watchAt(ABC, { b: {}, c: {} });
    watch.isCurrent();
    await clock.advance(2_500);
    Object.assign(behaviours, { b: 'away', c: 'silent' });
    await clock.advance(FENCE_VALID_MS - 1_500);
    expect(watch.isCurrent()).toBe(true);
    await clock.advance(1_500);
    expect(watch.isCurrent()).toBe(false);
  });

  test('it learns what the others know, and asks nobody while nobody writes under a lease', async () => {
    const { watch, clock, learned, state } = watchAt(ABC, { b: { tokens: [{ name: 'rules.1', token: 7 }] } });
    await clock.advance(5_000);
    expect(state.asked).toBe(0);
    const heard = watch.hear();
    await clock.advance(1_200);
    await heard;
    expect(learned).toContain('rules.1 7');
    await clock.advance(700_000, 1_000);
    const { asked } = state;
    await clock.advance(60_000, 1_000);
    expect(state.asked).toBe(asked);
  });
});

describe('three ingesters on real logs', () => {
  const rigs: ReplicaRig[] = [];
  afterEach(async () => {
    for (const rig of rigs.splice(0)) await rig.close();
  });

  const fenceOf = (fenceToken: number) => ({ fence: 'rules.1', fenceToken });

  test('one that only the earlier holder reaches keeps nothing of it once a later one may be at work', async () => {
    const rig = new ReplicaRig({ instances: ABC });
    rigs.push(rig);
    for (const instance of ABC) await rig.start(instance);
    rig.isPlaced = true;
    const signal = new AbortController().signal;
    const tell = (instance: string, token: number) =>
      rig.of(instance).client.fence({ name: 'rules.1', token }, { signal });
    for (const instance of ABC) expect((await tell(instance, 5)).earlier).toBe(0);
    expect(await rig.append('a', 1, 's1', fenceOf(5))).toBe(AppendOutcome.APPEND_OUTCOME_DURABLE);
    // From here on only the holder of token 5 reaches a.
    rig.reachable.delete('a');
    for (const instance of ['b', 'c']) expect((await tell(instance, 6)).earlier).toBe(5);
    const toldAtMs = performance.now();
    // A later holder begins after this, and a second for clocks that run at different speeds.
    await waitFor('what was heard is too old', async () => performance.now() - toldAtMs > FENCE_VALID_MS);
    expect(await rig.append('a', 1, 's2', fenceOf(5))).toBe(AppendOutcome.APPEND_OUTCOME_UNAVAILABLE);
    expect([...(await rig.contentOf('a')).keys()]).toEqual(['w/s1']);
    expect(await rig.metric('a', 'tidemark_ingester_fences_unheard_total')).toBe(1);
    // The earlier holder's samples have nowhere to come from when it is joined again, and it is told.
    rig.reachable.add('a');
    await waitFor(
      'it heard of the later one',
      async () => (await rig.append('a', 1, 's3', fenceOf(5))) === AppendOutcome.APPEND_OUTCOME_FENCED,
    );
    for (const instance of ABC)
      expect([...(await rig.contentOf(instance)).keys()].filter((key) => key !== 'w/s1')).toEqual([]);
    // What needs no lease was never refused.
    expect(await rig.append('a', 1, 's4')).toBe(AppendOutcome.APPEND_OUTCOME_DURABLE);
  });

  test('one whose file was damaged confirms no earlier holder before it heard of the later one', async () => {
    const rig = new ReplicaRig({ instances: ABC });
    rigs.push(rig);
    for (const instance of ABC) await rig.start(instance);
    rig.isPlaced = true;
    const signal = new AbortController().signal;
    const tell = (instance: string, token: number) =>
      rig.of(instance).client.fence({ name: 'rules.1', token }, { signal });
    // Of token 6 a has not heard.
    for (const instance of ['b', 'c']) expect((await tell(instance, 6)).newest).toBe(6);
    await rig.stop('b');
    writeFileSync(path.join(rig.dataDirOf('b'), 'fences.json'), 'damaged');
    rig.reachable.delete('c');
    await rig.start('b');
    await expect(tell('b', 5)).rejects.toMatchObject({ code: 'unavailable' });
    rig.reachable.add('c');
    await waitFor('it heard of token 6', async () => (await tell('b', 5)).newest === 6);
  });
});
