// A control plane in memory whose members a test sets: for whoever follows the membership. And a clock that a test moves.
import type { Clock } from '../../services/lib/core/clock.ts';
import type {
  ControlPlane,
  Lease,
  LeaseView,
  MemberRecord,
  MemberView,
  PlacementRecord,
} from '../../services/lib/transport/control-plane.ts';

/** Time stands still between calls of `advance`; sleepers wake in order. */
export class ManualClock implements Clock {
  #nowMs = 1_000_000;
  readonly #sleepers = new Set<{ readonly atMs: number; readonly wake: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const sleeper = { atMs: this.#nowMs + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      });
    });
  }

  /** Moves time in steps, so that a loop that sleeps runs as often as it would. */
  async advance(ms: number, stepMs = 100): Promise<void> {
    for (const untilMs = this.#nowMs + ms; this.#nowMs < untilMs; ) {
      this.#nowMs += Math.min(stepMs, untilMs - this.#nowMs);
      for (const sleeper of [...this.#sleepers].sort((a, b) => a.atMs - b.atMs)) {
        if (sleeper.atMs > this.#nowMs) continue;
        this.#sleepers.delete(sleeper);
        sleeper.wake();
      }
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    }
  }
}

export class FakeControlPlane implements ControlPlane {
  isReachable = true;
  /** Whether another process holds every lease. */
  isLeaseTaken = false;
  /** How long a lease lasts from whenever it is looked at. */
  leaseMs = 5_000;
  /** What it has heard of leases. */
  readonly leases = new Map<string, LeaseView>();
  readonly #listeners = new Set<() => void>();
  #members: MemberView[] = [];
  #placement: PlacementRecord | undefined;

  /** Replaces the members. */
  set(members: readonly Partial<MemberRecord>[]): void {
    this.#members = members.map((member) => ({
      ...{ service: 'ingester', instance: '', zone: '', version: '1', grpcAddress: '', httpAddress: '' },
      ...{ startedAtMs: 0, state: 'ready', heartbeatAgeMs: 0 },
      ...member,
    }));
    for (const listener of this.#listeners) listener();
  }

  members(): readonly MemberView[] {
    return this.#members;
  }

  placement(): PlacementRecord | undefined {
    return this.#placement;
  }

  replacePlacement(next: PlacementRecord): Promise<boolean> {
    this.#placement = next;
    for (const listener of this.#listeners) listener();
    return Promise.resolve(true);
  }

  tryAcquire(name: string): Promise<Lease | undefined> {
    if (this.isLeaseTaken) return Promise.resolve(undefined);
    const release = (): Promise<void> => Promise.resolve();
    const isHeld = (): boolean => !this.isLeaseTaken;
    const heldForMs = (): number => (isHeld() ? this.leaseMs : 0);
    return Promise.resolve({
      ...{ name, token: 1, isHeld, heldForMs, release },
      raise: () => Promise.resolve(false),
    });
  }

  leaseView(name: string): LeaseView | undefined {
    return this.leases.get(name);
  }

  isConnected(): boolean {
    return this.isReachable;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  announce(): Promise<void> {
    return Promise.resolve();
  }
}
