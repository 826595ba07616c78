// The life of a service: start, drain, stop. main.ts builds services and gives them to `runUntilStopped` (lifecycle.ts).

/** Something with a life of its own. */
export interface Service {
  /** For logs: `ingester`. */
  readonly name: string;
  /** Resolves when the service can do its job (an ingester: log replayed). Throwing ends the process. */
  start(): Promise<void>;
  /** True while the service can do its job; what /-/ready says. */
  isReady(): boolean;
  /** Takes no more work, finishes what it has, flushes. Safe to call twice. */
  drain(): Promise<void>;
  /** Frees everything. Called after drain; safe to call twice. */
  stop(): Promise<void>;
}
