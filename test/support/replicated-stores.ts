// Stores that share out the same blocks, for tests of their replication: a cluster of them, blocks that tell where they come from, and all that
// the stores hold together.
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { Labels } from '../../services/lib/model/labels.ts';
import type { ObjectStore } from '../../services/lib/objstore/object-store.ts';
import { GroupPlacement, groupOf } from '../../services/lib/placement/block-groups.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import { MatchType } from '../../services/lib/wire/contracts.ts';
import type { StoreOptions } from '../../services/store/options.ts';
import { buildBlock, temporaryFolder } from './blocks.ts';
import { seriesOf, type TestSample } from './sample-blocks.ts';
import { StoreCluster } from './store-cluster.ts';
import { HandClock, type StoreRig, storedContent } from './store-rig.ts';

export const HOUR_MS = 3_600_000;
/** What the clock of the stores says first, Unix ms. */
export const NOW_MS = 4000 * HOUR_MS;
const signal = new AbortController().signal;
/** Matchers that take every series. */
export const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];

/** Stores that keep two copies of each block; they end with the test. */
export async function startStores(
  instances: readonly string[],
  options: Partial<StoreOptions> = {},
  objects?: ObjectStore,
): Promise<StoreCluster> {
  const folder = await temporaryFolder();
  const cluster = new StoreCluster(folder.path, new HandClock(NOW_MS), 2, options);
  cluster.objects = objects;
  onTestFinished(async () => {
    await cluster.stopAll();
    await folder[Symbol.asyncDispose]();
  });
  for (const instance of instances) await cluster.start(instance);
  return cluster;
}

/** Two hours of eight series of one partition, with values that tell the block; only the first `kept` samples of each when given. */
export async function blockOf(
  startHour: number,
  partition: number,
  samples = 60,
  kept = samples,
): Promise<BuiltBlock> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const words = new Uint32Array(Float64Array.of(startHour * 100 + partition + 0.1).buffer);
  const stepMs = (2 * HOUR_MS) / samples;
  const series = Array.from({ length: 8 }, (_, i) => {
    const labels = Labels.from([
      ['__name__', 'up'],
      ['partition', `${partition}`],
      ['i', `${i}`],
    ]);
    const points = Array.from({ length: kept }, (_unused, at): TestSample => {
      const timeMs = startHour * HOUR_MS + Math.round(at * stepMs);
      return [timeMs, (words[0]! + Math.imul(at * (i + 1), 0x9e3779b1)) >>> 0, words[1]!];
    });
    return { ...seriesOf(labels, points, 40), partition };
  });
  return buildBlock(path.join(folder.path, 'built'), series);
}

/** Blocks of two windows and eight partitions, put where they belong. */
export async function fill(
  cluster: StoreCluster,
  hours: readonly number[] = [3840, 3842, 3890],
): Promise<BuiltBlock[]> {
  const blocks: BuiltBlock[] = [];
  for (const hour of hours)
    for (let partition = 0; partition < 8; partition++) blocks.push(await blockOf(hour, partition));
  for (const block of blocks) await cluster.ship(block);
  return blocks;
}

/** All samples of all stores of a cluster, together: series → time → bits. */
export function unitedContent(cluster: StoreCluster): Promise<Map<string, Map<number, string>>> {
  return unitedContentOf(cluster.nodes.values());
}

/** As unitedContent, of some stores. */
export async function unitedContentOf(nodes: Iterable<StoreRig>): Promise<Map<string, Map<number, string>>> {
  const united = new Map<string, Map<number, string>>();
  for (const node of nodes) {
    for (const [series, samples] of await storedContent(node, everything)) {
      const known = united.get(series) ?? new Map<number, string>();
      for (const [timeMs, bits] of samples) known.set(timeMs, bits);
      united.set(series, known);
    }
  }
  return united;
}

/** Instance → sealed blocks held. */
export async function holders(cluster: StoreCluster): Promise<Map<string, Set<string>>> {
  const held = new Map<string, Set<string>>();
  for (const [instance, node] of cluster.nodes) {
    const leaves = new Set<string>();
    for await (const { held: part } of node.replication.inventory({ session: '', version: 0 }, { signal })) {
      for (const { blockId, sources } of part) {
        const ids = Buffer.from(sources).toString('hex').match(/.{32}/g) ?? [blockId];
        for (const id of ids) leaves.add(id);
      }
    }
    held.set(instance, leaves);
  }
  return held;
}

/** What is not where it belongs, a line each. */
export async function misplaced(
  cluster: StoreCluster,
  blocks: readonly BuiltBlock[],
  without: readonly string[] = [],
) {
  const held = await holders(cluster);
  const placement = new GroupPlacement(
    cluster.stores.filter(({ instance }) => !without.includes(instance)),
    2,
  );
  return blocks.flatMap(({ meta }) => {
    const owners = placement.ownersOf(groupOf(meta)).toSorted();
    const at = [...held].filter(([, leaves]) => leaves.has(meta.blockId)).map(([instance]) => instance);
    const isRight = at.toSorted().join() === owners.join();
    return isRight ? [] : [`${meta.blockId} should be on ${owners.join()}, is on ${at.join()}`];
  });
}
