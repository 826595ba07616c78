// Start timestamps of a head's series: all changes that its time ranges may need, and the last one before them. They belong to no
// range, because a start holds until the next one, however many ranges later.
import type { StartTimes } from '../chunk/start-times.ts';
import { ABSENT, grownF64, grownU32, U32Map } from './columns.ts';

/**
 * Entries of a series up to which repetitions are kept. They change nothing unless another start comes late in between, so writers
 * need not send them; from one that does with every sample they must not take memory.
 */
const REPEATS_MAX = 16;

export class StartTable {
  /** Series → its latest entry by time; `#older` leads on to earlier ones. */
  #newest = new U32Map();
  /** Series → entries since it was pruned last. */
  #counts = new U32Map();
  #older: Uint32Array = new Uint32Array(0);
  #series: Uint32Array = new Uint32Array(0);
  #timesMs: Float64Array = new Float64Array(0);
  #startsMs: Float64Array = new Float64Array(0);
  #count = 0;

  get bytesHeld(): number {
    return this.#newest.bytesHeld + this.#counts.bytesHeld + this.#older.length * 24;
  }

  /** Entries held. */
  get count(): number {
    return this.#count;
  }

  has(series: number): boolean {
    return this.#count > 0 && this.#newest.get(series) !== ABSENT;
  }

  /** From `timeMs` on the series' samples began to count at `startMs`; 0: not known. */
  add(series: number, timeMs: number, startMs: number): void {
    let later = ABSENT;
    let earlier = this.#newest.get(series);
    while (earlier !== ABSENT && this.#timesMs[earlier]! > timeMs) {
      later = earlier;
      earlier = this.#older[earlier]!;
    }
    const known = this.#counts.get(series);
    const count = known === ABSENT ? 0 : known;
    const isRepeated = earlier !== ABSENT && this.#startsMs[earlier] === startMs;
    if (isRepeated && count >= REPEATS_MAX) return;
    this.#counts.set(series, count + 1);
    const entry = this.#addEntry(series, timeMs, startMs);
    this.#older[entry] = earlier;
    if (later === ABSENT) this.#newest.set(series, entry);
    else this.#older[later] = entry;
  }

  /** Adds the entries of a series, in no order. */
  read(series: number, into: StartTimes): void {
    if (this.#count === 0) return;
    let entry = this.#newest.get(series);
    for (; entry !== ABSENT; entry = this.#older[entry]!) {
      into.add(this.#timesMs[entry]!, this.#startsMs[entry]!);
    }
  }

  /** Calls back for every entry, in no order. */
  forEach(visit: (series: number, timeMs: number, startMs: number) => void): void {
    for (let entry = 0; entry < this.#count; entry++) {
      visit(this.#series[entry]!, this.#timesMs[entry]!, this.#startsMs[entry]!);
    }
  }

  /**
   * Forgets what no sample from `fromMs` on needs, and the series that are not kept: of the entries up to then the last of each
   * series stays. Cost: a look at every entry.
   */
  prune(fromMs: number, isKept: (series: number) => boolean): void {
    if (this.#count === 0) return;
    const pruned = new StartTable();
    for (const series of this.#newest.sortedKeys()) {
      if (!isKept(series)) continue;
      let entry = this.#newest.get(series);
      for (; entry !== ABSENT; entry = this.#older[entry]!) {
        pruned.add(series, this.#timesMs[entry]!, this.#startsMs[entry]!);
        if (this.#timesMs[entry]! <= fromMs) break;
      }
    }
    this.#newest = pruned.#newest;
    this.#counts = pruned.#counts;
    this.#older = pruned.#older;
    this.#series = pruned.#series;
    this.#timesMs = pruned.#timesMs;
    this.#startsMs = pruned.#startsMs;
    this.#count = pruned.#count;
  }

  #addEntry(series: number, timeMs: number, startMs: number): number {
    const entry = this.#count++;
    this.#older = grownU32(this.#older, this.#count);
    const { length } = this.#older;
    this.#series = grownU32(this.#series, length);
    this.#timesMs = grownF64(this.#timesMs, length);
    this.#startsMs = grownF64(this.#startsMs, length);
    this.#series[entry] = series;
    this.#timesMs[entry] = timeMs;
    this.#startsMs[entry] = startMs;
    return entry;
  }
}
