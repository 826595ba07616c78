// Series in memory as several owners hold them: each has those whose labels hash to it, in replicas that lack samples, and
// that overlap, and that it unites.
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { hash128 } from '../../services/lib/core/hash128.ts';
import { encodeLabels, type Labels } from '../../services/lib/model/labels.ts';
import type {
  Queryable,
  QueryContext,
  SelectRequest,
  SeriesSet,
} from '../../services/lib/model/queryable.ts';
import { SampleColumns } from '../../services/lib/model/sample-columns.ts';

/** Whether a replica holds a sample. */
type Holds = (sample: number) => boolean;

/** Two that overlap and lack a third each, and a copy of one of them: all together have everything. */
const REPLICAS: readonly Holds[] = [
  (sample) => sample % 3 !== 0,
  (sample) => sample % 3 !== 1,
  (sample) => sample % 3 !== 0,
];

/** Asks for each selection once: what several shards of it are made from. */
export class SharedSelections implements Queryable {
  readonly #all: Queryable;
  readonly #sets = new Map<string, Promise<SeriesSet>>();

  constructor(all: Queryable) {
    this.#all = all;
  }

  select(request: SelectRequest, context: QueryContext): Promise<SeriesSet> {
    const key = JSON.stringify(request);
    let set = this.#sets.get(key);
    if (set === undefined) this.#sets.set(key, (set = this.#all.select(request, context)));
    return set;
  }
}

/** Those series of `all` that belong to shard `shard` of `shards`. */
export class ShardQueryable implements Queryable {
  readonly #all: Queryable;
  readonly #shard: number;
  readonly #shards: number;
  readonly #labels = new ByteWriter(256);
  readonly #hash = new Uint32Array(4);

  constructor(all: Queryable, shard: number, shards: number) {
    this.#all = all;
    this.#shard = shard;
    this.#shards = shards;
  }

  async select(request: SelectRequest, context: QueryContext): Promise<SeriesSet> {
    const set = await this.#all.select(request, context);
    const own: number[] = [];
    for (let i = 0; i < set.size; i++) if (this.#shardOf(set.labels(i)) === this.#shard) own.push(i);
    return new UnitedSet(set, own);
  }

  #shardOf(labels: Labels): number {
    this.#labels.reset();
    encodeLabels(labels, this.#labels);
    hash128(this.#labels.bytes, 0, this.#labels.length, 7, this.#hash);
    return this.#hash[0]! % this.#shards;
  }
}

class UnitedSet implements SeriesSet {
  readonly warnings: readonly string[];
  readonly #set: SeriesSet;
  readonly #own: readonly number[];

  constructor(set: SeriesSet, own: readonly number[]) {
    this.warnings = set.warnings;
    this.#set = set;
    this.#own = own;
  }

  get size(): number {
    return this.#own.length;
  }

  labels(index: number): Labels {
    return this.#set.labels(this.#own[index]!);
  }

  read(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    const all = new SampleColumns(16);
    this.#set.read(this.#own[index]!, minTimeMs, maxTimeMs, all);
    const replicas = REPLICAS.map((holds) => replicaOf(all, holds));
    unite(replicas, into);
  }

  release(): void {
    this.#set.release();
  }
}

function replicaOf(all: SampleColumns, holds: Holds): SampleColumns {
  const kept = emptyLike([all]);
  for (let i = 0; i < all.count; i++) if (holds(i)) copySample(all, i, kept);
  return kept;
}

/** Samples of all replicas in order of time, each once. */
function unite(replicas: readonly SampleColumns[], into: SampleColumns): void {
  const united = emptyLike(replicas);
  const next = replicas.map(() => 0);
  for (;;) {
    let timeMs = Number.POSITIVE_INFINITY;
    let from = -1;
    replicas.forEach(({ timestampsMs, count }, r) => {
      if (next[r]! < count && timestampsMs[next[r]!]! < timeMs) {
        timeMs = timestampsMs[next[r]!]!;
        from = r;
      }
    });
    if (from < 0) break;
    copySample(replicas[from]!, next[from]!, united);
    replicas.forEach(({ timestampsMs, count }, r) => {
      if (next[r]! < count && timestampsMs[next[r]!] === timeMs) next[r] = next[r]! + 1;
    });
  }
  into.count = 0;
  into.reserve(united.count);
  into.timestampsMs.set(united.timestampsMs.subarray(0, united.count));
  // As bytes: markers keep their bits.
  new Uint8Array(into.values.buffer).set(new Uint8Array(united.values.buffer, 0, united.count * 8));
  into.count = united.count;
  into.histograms = united.histograms;
  into.startTimesMs = united.startTimesMs;
}

function emptyLike(sources: readonly SampleColumns[]): SampleColumns {
  const size = sources.reduce((sum, { count }) => sum + count, 0);
  const columns = new SampleColumns(Math.max(1, size));
  if (sources.some(({ histograms }) => histograms !== undefined)) columns.histograms = [];
  if (sources.some(({ startTimesMs }) => startTimesMs !== undefined)) {
    columns.startTimesMs = new Float64Array(Math.max(1, size));
  }
  return columns;
}

function copySample(from: SampleColumns, i: number, into: SampleColumns): void {
  const at = into.count++;
  into.timestampsMs[at] = from.timestampsMs[i]!;
  into.words[2 * at] = from.words[2 * i]!;
  into.words[2 * at + 1] = from.words[2 * i + 1]!;
  if (into.histograms !== undefined) into.histograms[at] = from.histograms?.[i];
  if (into.startTimesMs !== undefined) into.startTimesMs[at] = from.startTimesMs?.[i] ?? 0;
}
