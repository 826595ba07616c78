// Metrics whose value is somebody else's: read when the registry is asked, never kept up to date.
import { Counter, Gauge, type Registry } from 'prom-client';

/** Registers a gauge that shows what `read` answers at each scrape. */
export function registerReadGauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}

/** Registers a counter that shows what `read` answers at each scrape; the answer never falls. */
export function registerReadCounter(
  registry: Registry,
  name: string,
  help: string,
  read: () => number,
): void {
  new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}
