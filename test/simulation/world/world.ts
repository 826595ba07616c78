// The simulated world: one queue of events on a virtual clock, and hosts whose processes live in it. Code runs as it does in
// production; only where it would wait for the machine (timers, disk, network) does it wait for an event here. One event runs
// at a time, together with all promises that it settles, so that a seed decides the order of everything.
import { AsyncLocalStorage } from 'node:async_hooks';
import { type Random, randomOf } from '../../support/random.ts';
import { SimDisk } from './sim-disk.ts';

/** Taken before the world replaces them (machine.ts). */
const nextTurn = setImmediate;

/**
 * Runs what waits for promises and ticks, at once: what Node does between two callbacks. A turn of the real event loop for each event
 * took a third of a run's time.
 */
const settlePromises = (process as unknown as { readonly _tickCallback: () => void })._tickCallback;

/** Events between two turns of the real event loop, in which Node's own work (garbage, signals) gets its due. */
const EVENTS_PER_TURN = 256;

/** Unix milliseconds at which every world begins: far enough from 0 for any retention. */
export const WORLD_START_MS = 1_700_000_000_000;

/** Files of host `h` are below `/sim/h`. */
export const SIM_ROOT = '/sim/';

export interface ScheduledEvent {
  readonly atMs: number;
  readonly order: number;
  /** Runs for this process: waits while its host is paused, is dropped when it is dead. */
  readonly process: SimProcess | undefined;
  readonly run: () => void;
  isCancelled: boolean;
}

/** A machine: a disk that outlives its processes, a wall clock of its own, a place in the network. */
export class Host {
  readonly name: string;
  readonly zone: string;
  readonly disk: SimDisk;
  /** Wall clock minus true time, milliseconds. */
  skewMs = 0;
  isPaused = false;
  process: SimProcess | undefined;
  /** Events that fell due during a pause. */
  readonly held: ScheduledEvent[] = [];

  constructor(name: string, zone: string, disk: SimDisk) {
    this.name = name;
    this.zone = zone;
    this.disk = disk;
  }
}

/** A process from its start to its end. What it still awaits when it dies never comes. */
export class SimProcess {
  readonly host: Host;
  readonly generation: number;
  isAlive = true;
  /** Tells its peers that their connections are gone. */
  readonly onDeath: (() => void)[] = [];

  constructor(host: Host, generation: number) {
    this.host = host;
    this.generation = generation;
  }
}

const running = new AsyncLocalStorage<SimProcess | undefined>();

/** The process whose code runs now; undefined in the harness. */
export function currentProcess(): SimProcess | undefined {
  return running.getStore();
}

/** Runs `work` as code of `process`, and what follows from it. */
export function runAs<T>(process: SimProcess | undefined, work: () => T): T {
  return running.run(process, work);
}

export class World {
  /** Monotonic milliseconds since the world began. */
  nowMs = 0;
  /** Events run. */
  events = 0;
  /** Folded over every event: two runs of one seed that differ anywhere differ here. */
  trace = 0;
  readonly random: Random;
  readonly hosts = new Map<string, Host>();
  readonly #queue: ScheduledEvent[] = [];
  #order = 0;
  #generations = 0;

  constructor(seed: number) {
    this.random = randomOf(seed);
  }

  addHost(name: string, zone: string, diskBytes: number): Host {
    const host = new Host(name, zone, new SimDisk(diskBytes, `${SIM_ROOT}${name}`));
    this.hosts.set(name, host);
    return host;
  }

  /** A whole number in [min, max]. */
  between(min: number, max: number): number {
    return min + Math.floor(this.random() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  /** The wall clock as the running code sees it. */
  wallMs(): number {
    return WORLD_START_MS + Math.floor(this.nowMs) + (currentProcess()?.host.skewMs ?? 0);
  }

  /** @param owner  The process that runs it, undefined for the world itself; default: the one that runs now. */
  schedule(delayMs: number, run: () => void, ...owner: [SimProcess | undefined] | []): ScheduledEvent {
    const process = owner.length > 0 ? owner[0] : currentProcess();
    const atMs = this.nowMs + Math.max(0, delayMs);
    const event: ScheduledEvent = { atMs, order: this.#order++, process, run, isCancelled: false };
    push(this.#queue, event);
    return event;
  }

  /** For the harness: waits in virtual time. Never call it from a process. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.schedule(ms, resolve, undefined);
    });
  }

  /** Starts a process on a host; the one before must be dead. */
  boot(host: Host): SimProcess {
    const process = new SimProcess(host, ++this.#generations);
    host.process = process;
    return process;
  }

  /** Ends a process between two of its steps: SIGKILL. */
  kill(process: SimProcess): void {
    if (!process.isAlive) return;
    process.isAlive = false;
    if (process.host.process === process) process.host.process = undefined;
    for (const tell of process.onDeath) tell();
  }

  pause(host: Host): void {
    host.isPaused = true;
  }

  /** What fell due meanwhile happens now, in its order. */
  resume(host: Host): void {
    host.isPaused = false;
    for (const event of host.held.splice(0)) {
      push(this.#queue, { ...event, atMs: this.nowMs, order: this.#order++ });
    }
  }

  /** Runs events until `work` settles. Throws when none are left or `eventsMax` is passed before. */
  async run<T>(work: Promise<T>, eventsMax: number): Promise<T> {
    let isOver = false;
    const watched = work.finally(() => {
      isOver = true;
    });
    watched.catch(() => undefined);
    const next = (): boolean => {
      if (isOver) return false;
      const event = pop(this.#queue);
      if (event === undefined) throw new Error('the world stands still: nothing is scheduled');
      if (this.events > eventsMax) throw new Error(`no end within ${eventsMax} events`);
      if (this.#fire(event)) settlePromises();
      return true;
    };
    while (!isOver) await turn(next);
    return await watched;
  }

  /** False when nothing ran. */
  #fire(event: ScheduledEvent): boolean {
    const { process } = event;
    if (event.isCancelled || process?.isAlive === false) return false;
    this.nowMs = Math.max(this.nowMs, event.atMs);
    if (process?.host.isPaused === true) {
      process.host.held.push(event);
      return false;
    }
    this.events++;
    const mixed = Math.imul(this.trace ^ Math.floor(this.nowMs * 1000), 0x9e3779b1) ^ event.order;
    this.trace = (mixed ^ (mixed >>> 15)) >>> 0;
    running.run(process, event.run);
    return true;
  }
}

/** Takes a number of steps outside of any promise's work, while `step` has more. */
function turn(step: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    nextTurn(() => {
      try {
        for (let i = 0; i < EVENTS_PER_TURN && step(); i++);
        resolve();
      } catch (caught) {
        reject(caught instanceof Error ? caught : new Error(String(caught)));
      }
    });
  });
}

function isBefore(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A binary heap, the earliest event first. */
function push(heap: ScheduledEvent[], event: ScheduledEvent): void {
  let at = heap.push(event) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(event, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: ScheduledEvent[]): ScheduledEvent | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (first === undefined || last === undefined || heap.length === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return first;
}
