// Mutated bytes for readers of stored formats: every input ends in an answer or in the error that the reader names, within a
// second and without memory that its size does not justify. TIDEMARK_FUZZ_SEED chooses other mutations,
// TIDEMARK_FUZZ_MUTATIONS how many there are; an input that hangs is printed by a second thread, which then ends the process.
import v8 from 'node:v8';
import { Worker } from 'node:worker_threads';
import { expect } from 'vitest';
import { pick, type Random, randomOf } from './random.ts';

export const FUZZ_SEED: number = Number(process.env.TIDEMARK_FUZZ_SEED ?? 1);
const MUTATIONS = Number(process.env.TIDEMARK_FUZZ_MUTATIONS ?? 50_000);
/** Of processor time, for one input. */
const LONGEST_MS = 1000;
const HANG_MS = 20_000;
const FAILURES_SHOWN_MAX = 10;
const INPUT_BYTES_MAX = 64 * 1024;
/** What one input may make its reader allocate, whatever it claims: this, and so much for each of its bytes. */
const GROWTH_BYTES = 8 << 20;
const GROWTH_PER_BYTE = 4096;

export interface ByteFuzz {
  /** Of the reader. */
  readonly name: string;
  /** Whole inputs, each at most 64 KiB. */
  readonly samples: readonly Uint8Array[];
  /** At most so many of the mutations that are asked for, where a reader is slow. */
  readonly mutationsMax?: number;
  /** Least share of the mutations that have an answer: those that are refused at their first byte would show nothing. */
  readonly answeredShareMin: number;
  /** What one input may make the reader allocate besides, where its format lets a few bytes claim that much. Default 8 MiB. */
  readonly growthBytes?: number;
  /** Prepares an input after it was mutated: checksums made right again. */
  readonly finish?: (bytes: Uint8Array) => Uint8Array;
  /**
   * Reads one input; throws (or rejects) when it finds an answer wrong.
   *
   * @param sample  Index of what was mutated, the first one where two were joined.
   * @returns       False when the reader refused it by the error that it names.
   */
  readonly read: (bytes: Uint8Array, sample: number) => boolean | Promise<boolean>;
}

/** Runs the mutations; fails with the first few inputs that were dealt with wrongly. */
export async function fuzzBytes(fuzz: ByteFuzz): Promise<void> {
  const random = randomOf(FUZZ_SEED);
  const runs = Math.min(MUTATIONS, fuzz.mutationsMax ?? MUTATIONS);
  const failures: string[] = [];
  let answered = 0;
  let slowestMs = 0;
  const started = process.cpuUsage();
  const watch = watchForHangs(fuzz.name);
  try {
    for (let run = 0; run < runs && failures.length < FAILURES_SHOWN_MAX; run++) {
      const sample = Math.floor(random() * fuzz.samples.length);
      const mutated = mutate(random, fuzz.samples[sample]!, fuzz.samples);
      const bytes = fuzz.finish?.(mutated) ?? mutated;
      watch.begins(bytes);
      const used = process.cpuUsage();
      const held = allocated();
      const fail = (what: string) =>
        failures.push(`${what} (run ${run}, sample ${sample}): ${Buffer.from(bytes).toString('hex')}`);
      try {
        if (await fuzz.read(bytes, sample)) answered++;
      } catch (caught) {
        fail(caught instanceof Error ? (caught.stack ?? caught.message) : String(caught));
      }
      const growth = allocated() - held;
      if (growth > (fuzz.growthBytes ?? GROWTH_BYTES) + GROWTH_PER_BYTE * bytes.length)
        fail(`${growth} bytes were allocated`);
      const { user, system } = process.cpuUsage(used);
      slowestMs = Math.max(slowestMs, (user + system) / 1000);
      if ((user + system) / 1000 > LONGEST_MS) fail(`took ${(user + system) / 1000} ms`);
    }
  } finally {
    await watch.end();
  }
  const { user, system } = process.cpuUsage(started);
  console.log(
    `fuzz ${fuzz.name}: ${runs} mutations, TIDEMARK_FUZZ_SEED=${FUZZ_SEED}, ${answered} answered, ${runs - answered} refused, slowest ${slowestMs.toFixed(0)} ms, ${((user + system) / 1e6).toFixed(1)} s`,
  );
  expect(failures).toEqual([]);
  expect(answered / runs, 'share of mutations that have an answer').toBeGreaterThan(fuzz.answeredShareMin);
}

/** Bytes that JavaScript holds or has not given back yet: grows with each allocation until a collection. */
function allocated(): number {
  const { used_heap_size: heap, external_memory: external } = v8.getHeapStatistics();
  return heap + external;
}

/** Bytes that decide much wherever they stand: signs, lengths, ends of varints. */
const TELLING = [0, 1, 2, 0x7f, 0x80, 0x81, 0xc0, 0xfe, 0xff];
/** Little-endian words that claim much. */
const WORDS = [0, 1, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

/** One to four changes of a copy. */
export function mutate(random: Random, sample: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  let bytes: Uint8Array = sample.slice();
  const below = (n: number): number => Math.floor(random() * n);
  for (let left = 1 + below(4); left > 0; left--) {
    const { length } = bytes;
    // Heads are where it hurts: every other change goes there.
    const at = below(random() < 0.5 ? Math.min(length, 40) : length);
    switch (below(9)) {
      case 0:
      case 1:
        if (length > 0) bytes[at]! ^= 1 << below(8);
        break;
      case 2:
        if (length > 0) bytes[at] = below(256);
        break;
      case 3:
        if (length > 0) bytes[at] = pick(random, TELLING);
        break;
      case 4:
        if (length >= at + 4) new DataView(bytes.buffer).setUint32(at, pick(random, WORDS), true);
        break;
      case 5:
        bytes = bytes.slice(0, at);
        break;
      case 6:
        bytes = joined(bytes.subarray(0, at), bytes.subarray(Math.min(length, at + below(16))));
        break;
      case 7: {
        const from = below(length);
        bytes = joined(bytes.subarray(0, at), bytes.subarray(from, from + below(64)), bytes.subarray(at));
        break;
      }
      default: {
        const other = pick(random, others);
        bytes = joined(bytes.subarray(0, at), other.subarray(below(other.length)));
      }
    }
  }
  return bytes.length > INPUT_BYTES_MAX ? bytes.slice(0, INPUT_BYTES_MAX) : bytes;
}

function joined(...pieces: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(pieces));
}

const WATCHER = `
const { workerData: { shared, name, hangMs } } = require('node:worker_threads');
const words = new Int32Array(shared, 0, 2);
const bytes = Buffer.from(shared, 8);
let seen = -1;
setInterval(() => {
  const now = Atomics.load(words, 0);
  if (now === seen) {
    const input = bytes.subarray(0, Atomics.load(words, 1)).toString('hex');
    require('node:fs').writeSync(2, 'fuzz ' + name + ': input ' + now + ' hangs: ' + input + '\\n');
    process.kill(process.pid, 'SIGKILL');
  }
  seen = now;
}, hangMs);
`;

/** A thread that looks whether the input changes; the one that does not is printed, and the process ends. */
function watchForHangs(name: string): { begins: (bytes: Uint8Array) => void; end: () => Promise<unknown> } {
  const shared = new SharedArrayBuffer(8 + INPUT_BYTES_MAX * 2);
  const words = new Int32Array(shared, 0, 2);
  const copy = new Uint8Array(shared, 8);
  const worker = new Worker(WATCHER, { eval: true, workerData: { shared, name, hangMs: HANG_MS } });
  return {
    begins: (bytes) => {
      copy.set(bytes.subarray(0, copy.length));
      Atomics.store(words, 1, Math.min(bytes.length, copy.length));
      Atomics.add(words, 0, 1);
    },
    end: () => worker.terminate(),
  };
}
