// The bucket of object storage that stores share, as S3 has it: whole objects, strongly consistent, listed page by page. Requests are slow,
// fail before or after they had effect, have it when nobody waits for it any more, and bring something other than was sent. What it has
// acknowledged it keeps. The store's own code stands on top of it, from `BlockBucket` on; S3's HTTP is not simulated.
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { AppError, throwIfAborted, toAppError } from '../../../services/lib/core/errors.ts';
import type {
  ObjectDigest,
  ObjectEntry,
  ObjectStat,
  ObjectStore,
  RemovalRight,
} from '../../../services/lib/objstore/object-store.ts';
import { currentProcess, type SimProcess, WORLD_START_MS, type World } from './world.ts';

const DELAY_MS_MIN = 5;
const DELAY_MS_MAX = 40;
/** As the client of S3 tries (lib/objstore/s3-requests.ts), and waits in between. */
const ATTEMPTS_MAX = 5;
const BACKOFF_MS = 200;
/** Nobody answers: given up after this; the client of S3 waits longer, but so do the faults of a year. */
const SILENCE_MS = 2_000;
/** What a request that was given up may still do, it does within this. */
const LATE_MS_MAX = 4_000;
/** Small, so that a listing is no snapshot. */
const PAGE_OBJECTS = 10;
const PIECE_BYTES = 16 << 10;
/** As the client of S3 has it: a right ends so much sooner. */
const SKEW_MS_MAX = 1_000;

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly modifiedMs: number;
  readonly tag: string;
  /** Whether a HEAD tells the checksum: not of an object that came in parts. */
  readonly knowsCrc: boolean;
}

/** How the bucket is just now. */
export interface BucketWeather {
  isDown: boolean;
  /** More delay of each request, milliseconds. */
  extraMs: number;
  /** Requests that fail in one of the ways there are. */
  failShare: number;
  /** Files that arrive with a wrong byte or cut short, and are acknowledged. */
  damageShare: number;
}

/** What becomes of one attempt. */
type Fate = 'served' | 'refused' | 'answer lost' | 'late' | 'unreachable';

export class SimBucket {
  readonly weather: BucketWeather = { isDown: false, extraMs: 0, failShare: 0, damageShare: 0 };
  readonly #world: World;
  readonly #readFile: FileRead;
  /** Hosts that cannot reach it. */
  readonly #cutOff = new Set<string>();
  readonly #objects = new Map<string, StoredObject>();
  #writes = 0;
  /** Files that arrived damaged. */
  damagedUploads = 0;
  /** Sees every removal that has effect, before it does. */
  onRemoval: (key: string, right: RemovalRight) => void = () => undefined;

  /** @param readFile  Where files to upload are. Default: the host's. */
  constructor(world: World, readFile: FileRead = readWhole) {
    this.#world = world;
    this.#readFile = readFile;
  }

  cutOff(host: string): void {
    this.#cutOff.add(host);
  }

  heal(): void {
    this.#cutOff.clear();
  }

  /** All that is there, for the harness. */
  get objects(): ReadonlyMap<string, { readonly bytes: Uint8Array }> {
    return this.#objects;
  }

  /** The bucket as the services reach it. */
  readonly store: ObjectStore = {
    name: 's3://sim/',
    put: (key, bytes, signal) => {
      const sent = Uint8Array.from(bytes);
      return this.#request(signal, () => this.#put(key, sent, true));
    },
    putFile: async (key, { path, sizeBytes }, onProgress, signal) => {
      const sent = await this.#readFile(path, sizeBytes);
      // In one request its checksum comes along, and what is damaged is refused; parts have none.
      const isInParts = this.#world.chance(0.5) || this.weather.damageShare > 0;
      await this.#request(signal, (isLate) => {
        this.#put(key, isInParts && !isLate ? this.#arrived(sent) : sent, !isInParts);
      });
      await onProgress(sizeBytes);
    },
    statOf: (key, signal) => this.#request(signal, () => statOf(this.#mustFind(key))),
    digestOf: (key, signal) => this.#digestOf(key, signal),
    get: async (key, bytesMax, signal) => {
      const { bytes } = await this.#request(signal, () => this.#mustFind(key));
      if (bytes.length > bytesMax)
        throw new AppError('resource_exhausted', `${key} has more than ${bytesMax} bytes`);
      return bytes;
    },
    getRange: async (key, start, end, signal) => {
      const { bytes } = await this.#request(signal, () => this.#mustFind(key));
      if (bytes.length < end) throw new AppError('bad_data', `${key} ends at byte ${bytes.length}`);
      return bytes.slice(start, end);
    },
    read: (key, start, sizeBytes, signal) => this.#read(key, start, sizeBytes, signal),
    list: (prefix, signal) => this.#list(prefix, signal),
    remove: (key, right, signal) => {
      // Signed anew for each attempt, and judged as it arrives.
      const sign = (): number => {
        const endsAtMs = this.#world.nowMs + right.leftMs() - SKEW_MS_MAX;
        if (endsAtMs <= this.#world.nowMs) throw tooLate(key);
        return endsAtMs;
      };
      const remove = (_isLate: boolean, endsAtMs: number): void => {
        if (this.#world.nowMs > endsAtMs) throw tooLate(key);
        if (!this.#objects.has(key)) return;
        this.onRemoval(key, right);
        this.#objects.delete(key);
      };
      return this.#request(signal, remove, sign);
    },
  };

  async #digestOf(key: string, signal: AbortSignal): Promise<ObjectDigest> {
    const { sizeBytes, crc32: known } = await this.store.statOf(key, signal);
    if (known !== undefined) return { sizeBytes, crc32: known };
    let [bytes, crc] = [0, 0];
    for await (const piece of this.#read(key, 0, sizeBytes, signal)) {
      bytes += piece.length;
      crc = crc32(piece, crc);
    }
    return { sizeBytes: bytes, crc32: crc };
  }

  async *#read(
    key: string,
    start: number,
    sizeBytes: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    for (let at = start; at < sizeBytes; ) {
      const { bytes } = await this.#request(signal, () => this.#mustFind(key));
      const piece = bytes.slice(at, Math.min(at + PIECE_BYTES, sizeBytes));
      if (piece.length === 0)
        throw new AppError('unavailable', `${key} ends at byte ${at} of ${sizeBytes}, again and again`);
      at += piece.length;
      yield piece;
    }
  }

  async *#list(prefix: string, signal: AbortSignal): AsyncGenerator<ObjectEntry> {
    for (let after = ''; ; ) {
      const page = await this.#request(signal, () => this.#page(prefix, after));
      yield* page;
      if (page.length < PAGE_OBJECTS) return;
      after = page.at(-1)!.key;
    }
  }

  #page(prefix: string, after: string): ObjectEntry[] {
    return [...this.#objects]
      .filter(([key]) => key.startsWith(prefix) && key > after)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .slice(0, PAGE_OBJECTS)
      .map(([key, { bytes, tag, modifiedMs }]) => ({ key, sizeBytes: bytes.length, tag, modifiedMs }));
  }

  #mustFind(key: string): StoredObject {
    const found = this.#objects.get(key);
    if (found === undefined) throw new AppError('not_found', `object storage: ${key}: 404 NoSuchKey`);
    return found;
  }

  #put(key: string, bytes: Uint8Array, knowsCrc: boolean): void {
    const modifiedMs = WORLD_START_MS + Math.floor(this.#world.nowMs);
    this.#objects.set(key, { bytes, modifiedMs, tag: String(++this.#writes), knowsCrc });
  }

  /** What arrives of a file. */
  #arrived(sent: Uint8Array): Uint8Array {
    const world = this.#world;
    if (sent.length === 0 || !world.chance(this.weather.damageShare)) return sent;
    this.damagedUploads++;
    const at = world.between(0, sent.length - 1);
    if (world.chance(0.3)) return sent.slice(0, at);
    const damaged = sent.slice();
    damaged[at]! ^= 1 << world.between(0, 7);
    return damaged;
  }

  /**
   * A request with all its attempts. What the bucket says of it is not tried again.
   *
   * @param sign  Until when an attempt is good, milliseconds of the world; called as each one is sent.
   */
  async #request<T>(
    signal: AbortSignal,
    work: (isLate: boolean, endsAtMs: number) => T,
    sign: () => number = () => Number.POSITIVE_INFINITY,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      throwIfAborted(signal);
      const endsAtMs = sign();
      const outcome = await this.#attempt(signal, (isLate) => work(isLate, endsAtMs));
      if (outcome !== undefined) {
        if (outcome.error !== undefined) throw outcome.error;
        return outcome.value as T;
      }
      throwIfAborted(signal);
      if (attempt >= ATTEMPTS_MAX)
        throw new AppError('unavailable', 'object storage: s3://sim/ cannot be reached');
      await this.#wait(BACKOFF_MS * 2 ** (attempt - 1) * (0.5 + this.#world.random()), signal);
    }
  }

  /** Undefined: no answer, or that it should be tried later; it may have had effect all the same. */
  #attempt<T>(
    signal: AbortSignal,
    work: (isLate: boolean) => T,
  ): Promise<{ readonly value?: T; readonly error?: AppError } | undefined> {
    const world = this.#world;
    const process = currentProcess();
    const fate = this.#fateOf(process);
    const serve = (): { value?: T; error?: AppError } => {
      try {
        return { value: work(fate === 'late') };
      } catch (caught) {
        return { error: toAppError(caught) };
      }
    };
    return new Promise((resolve) => {
      const leave = (): void => resolve(undefined);
      signal.addEventListener('abort', leave, { once: true });
      const answer = (afterMs: number, outcome: Parameters<typeof resolve>[0]): void => {
        const arrive = (): void => {
          signal.removeEventListener('abort', leave);
          resolve(outcome);
        };
        world.schedule(afterMs, arrive, process);
      };
      if (fate === 'unreachable' || fate === 'late') answer(SILENCE_MS * world.random(), undefined);
      if (fate === 'unreachable') return;
      const wayMs = fate === 'late' ? LATE_MS_MAX * world.random() : this.#delayMs() / 2;
      const arriveThere = (): void => {
        const outcome = fate === 'refused' ? undefined : serve();
        if (fate !== 'late') answer(this.#delayMs() / 2, fate === 'served' ? outcome : undefined);
      };
      // On its way it belongs to nobody: it arrives whatever becomes of its sender.
      world.schedule(wayMs, arriveThere, undefined);
    });
  }

  #fateOf(process: SimProcess | undefined): Fate {
    const { isDown, failShare } = this.weather;
    if (isDown || (process !== undefined && this.#cutOff.has(process.host.name))) return 'unreachable';
    if (!this.#world.chance(failShare)) return 'served';
    return (['refused', 'answer lost', 'late', 'unreachable'] as const)[this.#world.between(0, 3)]!;
  }

  #delayMs(): number {
    return DELAY_MS_MIN + this.#world.random() * (DELAY_MS_MAX - DELAY_MS_MIN + this.weather.extraMs);
  }

  #wait(ms: number, signal: AbortSignal): Promise<void> {
    const process = currentProcess();
    return new Promise((resolve) => {
      const end = (): void => {
        signal.removeEventListener('abort', end);
        resolve();
      };
      signal.addEventListener('abort', end, { once: true });
      this.#world.schedule(ms, end, process);
    });
  }
}

const tooLate = (key: string): AppError =>
  new AppError('failed_precondition', `object storage: ${key}: the right to remove is over`);

function statOf({ bytes, knowsCrc }: StoredObject): ObjectStat {
  return { sizeBytes: bytes.length, crc32: knowsCrc ? crc32(bytes) : undefined };
}

/** All bytes of a file. */
type FileRead = (path: string, sizeBytes: number) => Promise<Uint8Array>;

async function readWhole(path: string, sizeBytes: number): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const bytes = new Uint8Array(sizeBytes);
    const { bytesRead } = await file.read(bytes, 0, sizeBytes, 0);
    if (bytesRead < sizeBytes)
      throw new AppError('internal', `${path} ends at byte ${bytesRead}, expected ${sizeBytes}`);
    return bytes;
  } finally {
    await file.close();
  }
}

/** The same bucket for who believes its uploads: what was sent is what is there. */
export function trustingUploads(store: ObjectStore, readFile: FileRead = readWhole): ObjectStore {
  const sent = new Map<string, ObjectDigest>();
  const believed = async (key: string, signal: AbortSignal): Promise<ObjectDigest> =>
    sent.get(key) ?? (await store.digestOf(key, signal));
  return {
    ...store,
    putFile: async (key, file, onProgress, signal) => {
      await store.putFile(key, file, onProgress, signal);
      sent.set(key, {
        sizeBytes: file.sizeBytes,
        crc32: crc32(await readFile(file.path, file.sizeBytes)),
      });
    },
    statOf: believed,
    digestOf: believed,
  };
}
