// The key-value bucket of the control plane, as NATS has it: revisions, compare-and-set, watches that tell what is and what comes.
// It can be cut off from hosts, die, and come back with what it had or with nothing. The real control plane
// (transport/nats/nats-control-plane.ts) stands on top of it.
import type { ControlBucket } from '../../../services/lib/transport/nats/nats-control-plane.ts';
import { currentProcess, type SimProcess, type World } from './world.ts';

/** Longest answer that a client waits for. */
const REQUEST_TIMEOUT_MS = 2_000;
const LATENCY_MS_MAX = 3;

interface Entry {
  readonly key: string;
  readonly operation: 'PUT' | 'DEL';
  readonly text: string;
  readonly revision: number;
}

interface Watcher {
  readonly process: SimProcess | undefined;
  readonly push: (entry: Entry) => void;
}

/** What a client sees of an entry of a watch. */
interface WatchedEntry extends Entry {
  string(): string;
}

export class SimNats {
  isUp = true;
  /** Every write that took effect, for whoever checks who was allowed to. */
  onWrite: (entry: Entry, by: SimProcess | undefined) => void = () => undefined;
  readonly #world: World;
  /** Hosts that cannot reach it. */
  readonly #cutOff = new Set<string>();
  readonly #entries = new Map<string, Entry>();
  readonly #watchers = new Set<Watcher>();
  #revision = 0;

  constructor(world: World) {
    this.#world = world;
  }

  cutOff(host: string): void {
    this.#cutOff.add(host);
  }

  heal(): void {
    this.#cutOff.clear();
  }

  has(key: string): boolean {
    return this.#entries.get(key)?.operation === 'PUT';
  }

  /** Watches end silently, as seen from their clients. */
  kill(): void {
    this.isUp = false;
    this.#watchers.clear();
  }

  restart(isEmptied: boolean): void {
    this.isUp = true;
    if (!isEmptied) return;
    // Another fault may have started it meanwhile: it is stopped once more.
    this.#watchers.clear();
    this.#entries.clear();
    this.#revision = 0;
  }

  /** The bucket as the process that calls this reaches it. */
  readonly open = async (): Promise<ControlBucket> => {
    const process = currentProcess();
    await this.#request(() => undefined);
    const text = (value: unknown): string => String(value);
    const put = (key: string, value: string, check: (there: Entry | undefined) => boolean) =>
      this.#request(() => {
        if (!check(this.#entries.get(key))) throw new Error(`wrong last sequence of ${key}`);
        return this.#store({ key, operation: 'PUT', text: value, revision: ++this.#revision }, process);
      });
    const bucket = {
      create: (key: string, value: unknown) =>
        put(key, text(value), (there) => there === undefined || there.operation === 'DEL'),
      update: (key: string, value: unknown, revision: number) =>
        put(key, text(value), (there) => there?.revision === revision),
      put: (key: string, value: unknown) => put(key, text(value), () => true),
      delete: (key: string, options?: { previousSeq?: number }) =>
        this.#request(() => {
          const wanted = options?.previousSeq;
          if (wanted !== undefined && this.#entries.get(key)?.revision !== wanted)
            throw new Error(`wrong last sequence of ${key}`);
          this.#store({ key, operation: 'DEL', text: '', revision: ++this.#revision }, process);
        }),
      watch: () => this.#request(() => this.#watch(process)),
    };
    return bucket as unknown as ControlBucket;
  };

  #reaches(process: SimProcess | undefined): boolean {
    return this.isUp && process !== undefined && !this.#cutOff.has(process.host.name);
  }

  /** A request and its answer; either may get lost, and then nobody knows whether it was done. */
  #request<T>(work: () => T): Promise<T> {
    const process = currentProcess();
    const world = this.#world;
    return new Promise((resolve, reject) => {
      const late = world.schedule(REQUEST_TIMEOUT_MS, () => reject(new Error('NATS: timeout')), process);
      const answer = (settle: () => void): void => {
        if (!this.#reaches(process)) return;
        const settled = (): void => {
          late.isCancelled = true;
          settle();
        };
        world.schedule(this.#delayMs(), settled, process);
      };
      const serve = (): void => {
        if (!this.#reaches(process)) return;
        try {
          const result = work();
          answer(() => resolve(result));
        } catch (caught) {
          answer(() => reject(caught));
        }
      };
      world.schedule(this.#delayMs(), serve, undefined);
    });
  }

  #delayMs(): number {
    return this.#world.random() * LATENCY_MS_MAX;
  }

  #store(entry: Entry, by: SimProcess | undefined): number {
    this.#entries.set(entry.key, entry);
    this.onWrite(entry, by);
    for (const watcher of [...this.#watchers]) watcher.push(entry);
    return entry.revision;
  }

  #watch(process: SimProcess | undefined) {
    const world = this.#world;
    const waiting: Entry[] = [];
    let wake: (() => void) | undefined;
    let isStopped = false;
    let lastMs = 0;
    const push = (entry: Entry): void => {
      // A consumer that is cut off misses nothing once it is back, unless it gave up before.
      const atMs = Math.max(lastMs, world.nowMs + this.#delayMs());
      lastMs = atMs;
      const deliver = (): void => {
        if (isStopped || !this.#watchers.has(watcher)) return;
        if (!this.#reaches(process)) {
          world.schedule(REQUEST_TIMEOUT_MS, deliver, process);
          return;
        }
        waiting.push(entry);
        wake?.();
      };
      world.schedule(atMs - world.nowMs, deliver, process);
    };
    const watcher: Watcher = { process, push };
    this.#watchers.add(watcher);
    for (const entry of this.#entries.values()) push(entry);
    const stop = (): void => {
      isStopped = true;
      this.#watchers.delete(watcher);
      wake?.();
    };
    process?.onDeath.push(stop);
    async function* entries(): AsyncGenerator<WatchedEntry> {
      for (;;) {
        const entry = waiting.shift();
        if (entry !== undefined) yield { ...entry, string: () => entry.text };
        else if (isStopped) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    }
    const iterator = entries();
    return { [Symbol.asyncIterator]: () => iterator, stop };
  }
}
