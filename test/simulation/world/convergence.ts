// Whether replicas hold the same: every owner of a partition in its head and the blocks together, every store of a group in its blocks.
// Answers do not show that: they are complete as long as a quorum of the owners is. Blocks are read from the stores' disks as they
// lie there, so that damage which nobody has found yet shows, too.
import { decodeLabels } from '../../../services/lib/model/labels.ts';
import { GroupPlacement, groupOf } from '../../../services/lib/placement/block-groups.ts';
import type { PlacementRecord } from '../../../services/lib/transport/control-plane.ts';
import { ownersOf } from '../../../services/lib/transport/members/owner-table.ts';
import { BlockReader } from '../../../services/lib/tsdb/block/block-reader.ts';
import { PageCache } from '../../../services/lib/tsdb/block/page-cache.ts';
import { WorkPacer } from '../../../services/lib/tsdb/block/work-pacer.ts';
import { SeriesSamples } from '../../../services/lib/tsdb/chunk/series-samples.ts';
import { IngesterDefinition } from '../../../services/lib/wire/contracts.ts';
import { readSeriesFrame } from '../../../services/lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../../../services/lib/wire/matchers.ts';
import { chunksInBucket } from './bucket-check.ts';
import { type Ledger, SIM_METRIC, SLOT_MS, TENANT } from './ledger.ts';
import type { SimCluster, SimNode } from './sim-cluster.ts';
import { SIM_ROOT, WORLD_START_MS } from './world.ts';

/** One string for each sample: series, time, bits of the value. */
type Content = Set<string>;

const READ_TIMEOUT_MS = 10_000;

/** What replicas differ in. */
export interface Divergence {
  /** Stores get over it in the time of a scrub, ingesters at their next comparison. */
  readonly isOfStores: boolean;
  readonly what: string;
}

/** Undefined when replicas hold the same, but for what deletes concern: that goes from each in its own time. */
export async function findDivergence(
  cluster: SimCluster,
  ledgers: readonly Ledger[],
): Promise<Divergence | undefined> {
  const records = cluster.nodes.map(({ placement }) => placement());
  const [record] = records;
  const stale = records.findIndex((other) => other?.epoch !== record?.epoch);
  if (record === undefined || stale >= 0) {
    const epochs = records.map((each) => each?.epoch ?? 'none').join(', ');
    return { isOfStores: false, what: `processes know placements of epochs ${epochs}` };
  }
  try {
    const stores = new Map<string, Map<string, StoredBlock[]>>();
    for (const node of cluster.of('store')) stores.set(node.host.name, await blocksOf(cluster, node));
    const storesLack = storeDivergence(record, stores, ledgers);
    if (storesLack !== undefined) return { isOfStores: true, what: storesLack };
    const ingestersLack = await ingesterDivergence(cluster, record, stores, ledgers);
    return ingestersLack === undefined ? undefined : { isOfStores: false, what: ingestersLack };
  } catch (caught) {
    // A damaged block, or one that was merged away meanwhile; a process that is not there.
    return { isOfStores: true, what: `they cannot be compared: ${String(caught)}` };
  }
}

interface StoredBlock {
  readonly byPartition: ReadonlyMap<number, Content>;
}

/** Blocks on the store's disk by group. @throws CorruptBlockError on damage. */
async function blocksOf({ bucket }: SimCluster, { host }: SimNode): Promise<Map<string, StoredBlock[]>> {
  const root = `${SIM_ROOT}${host.name}/data/blocks/`;
  const folders = new Set(
    host.disk
      .files()
      .flatMap(([file]) => (file.startsWith(root) ? [file.slice(0, file.lastIndexOf('/'))] : [])),
  );
  const found = new Map<string, StoredBlock[]>();
  for (const dir of folders) {
    const isEvicted = host.disk.find(`${dir}/chunks`) === undefined && bucket !== undefined;
    const reader = await BlockReader.open(dir, {
      cache: new PageCache({ bytesMax: 1 << 20 }),
      chunksOf: isEvicted ? (meta) => chunksInBucket(bucket, meta) : undefined,
    });
    try {
      const group = groupOf(reader.meta);
      found.set(group, [...(found.get(group) ?? []), { byPartition: await samplesOf(reader) }]);
    } finally {
      await reader.close();
    }
  }
  return found;
}

async function samplesOf(reader: BlockReader): Promise<Map<number, Content>> {
  const byPartition = new Map<number, Content>();
  const cursor = reader.openCursor();
  const pacer = new WorkPacer();
  const samples = new SeriesSamples();
  while (cursor.advance()) {
    await cursor.loadChunks(pacer);
    samples.clear();
    for (let i = 0; i < cursor.chunks.count; i++) {
      cursor.withChunk(i, (bytes, start, end) => {
        samples.addChunk(cursor.chunks.encodings[i]!, bytes, start, end);
      });
    }
    const content = byPartition.get(cursor.partition) ?? new Set();
    byPartition.set(cursor.partition, content);
    addSamples(content, decodeLabels(cursor.labelBytes, 0, cursor.labelLength).toString(), samples);
  }
  return byPartition;
}

function addSamples(content: Content, series: string, { floats }: SeriesSamples): void {
  const { timestampsMs, words } = floats;
  for (let i = 0; i < floats.count; i++)
    content.add(`${series} at ${timestampsMs[i]! - WORLD_START_MS}: ${words[2 * i + 1]}/${words[2 * i]}`);
}

/**
 * Every owner of a group has what any store has of it, in whichever block: what deletes leave of a block may be of fewer partitions, and so of another
 * group than where it was merged before.
 */
function storeDivergence(
  { stores, storeReplicationFactor }: PlacementRecord,
  found: ReadonlyMap<string, ReadonlyMap<string, readonly StoredBlock[]>>,
  ledgers: readonly Ledger[],
): string | undefined {
  const placement = new GroupPlacement(stores, storeReplicationFactor);
  const groups = new Set([...found.values()].flatMap((blocks) => [...blocks.keys()]));
  const held = new Map([...found].map(([name, blocks]) => [name, contentOf([...blocks.values()].flat())]));
  for (const group of groups) {
    const all = contentOf([...found.values()].flatMap((blocks) => blocks.get(group) ?? []));
    for (const owner of placement.ownersOf(group)) {
      const lack = lackOf(held.get(owner) ?? new Set(), all, ledgers);
      if (lack !== undefined) return `${owner} lacks ${lack} in blocks of group ${group}`;
    }
  }
  return undefined;
}

/** Every owner of a partition has, with the blocks, what any owner has of it. */
async function ingesterDivergence(
  cluster: SimCluster,
  record: PlacementRecord,
  stores: ReadonlyMap<string, ReadonlyMap<string, readonly StoredBlock[]>>,
  ledgers: readonly Ledger[],
): Promise<string | undefined> {
  const blocks = [...stores.values()].flatMap((groups) => [...groups.values()].flat());
  for (const [partition, owners] of ownersOf(record, record).entries()) {
    const sealed = contentOf(blocks, partition);
    const held = new Map<string, Content>();
    for (const owner of owners) held.set(owner, union([await headOf(cluster, owner, partition), sealed]));
    const all = union([...held.values()]);
    for (const [owner, content] of held) {
      const lack = lackOf(content, all, ledgers);
      if (lack !== undefined) return `${owner} lacks ${lack} of partition ${partition}`;
    }
  }
  return undefined;
}

async function headOf(cluster: SimCluster, instance: string, partition: number): Promise<Content> {
  const { address } = cluster.of('ingester').find(({ host }) => host.name === instance)!;
  const { client } = cluster.network.connect(IngesterDefinition, {
    address,
    unaryTimeoutMs: READ_TIMEOUT_MS,
  });
  const request = {
    ...{ tenant: TENANT, minTimeMs: 0, maxTimeMs: 2 * WORLD_START_MS, labelsOnly: false, seriesMax: 0 },
    matchers: toWireMatchers([{ name: '__name__', operator: '=', value: SIM_METRIC }]),
    partitions: [partition],
  };
  const content: Content = new Set();
  const samples = new SeriesSamples();
  let series = '';
  const flush = (): void => {
    addSamples(content, series, samples);
    samples.clear();
  };
  for await (const { frame } of client.select(request, { signal: new AbortController().signal })) {
    if (frame.length === 0) continue;
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        flush();
        series = decodeLabels(bytes, start, end).toString();
      },
      chunk: (encoding, _minTimeMs, _maxTimeMs, bytes, start, end) => {
        samples.addChunk(encoding, bytes, start, end);
      },
    });
  }
  flush();
  return content;
}

/** @param partition  Absent: of all. */
function contentOf(blocks: readonly StoredBlock[], partition?: number): Content {
  return union(
    blocks.flatMap(({ byPartition }) =>
      partition === undefined ? [...byPartition.values()] : [byPartition.get(partition) ?? new Set<string>()],
    ),
  );
}

function union(all: readonly Content[]): Content {
  const sum: Content = new Set();
  for (const content of all) for (const sample of content) sum.add(sample);
  return sum;
}

/** How many of `all` are not there, and which is the first; undefined when none. */
function lackOf(content: Content, all: Content, ledgers: readonly Ledger[]): string | undefined {
  const lacking = [...all].filter((sample) => !content.has(sample) && !isTouched(sample, ledgers));
  if (lacking.length === 0) return undefined;
  return `${lacking.length} of ${all.size} samples, ${lacking[0]},`;
}

/** Whether a delete could concern a sample of a Content. */
function isTouched(sample: string, ledgers: readonly Ledger[]): boolean {
  const [, series, writer, atMs] = /series="(\d+)",\s*writer="(\w+)"\} at (-?\d+):/.exec(sample) ?? [];
  const ledger = ledgers.find((each) => each.writer === writer);
  return ledger?.isTouched(Number(atMs) / SLOT_MS, Number(series)) ?? false;
}
