// Jobs that custom resources of Kubernetes ask for, beside those of the configuration file: followed as the file says.
import type { GroupSourceDeps } from '../../lib/discovery/group-source.ts';
import type { WatchHub } from '../../lib/discovery/kubernetes/watch-hub.ts';
import { MonitorWatch } from '../../lib/discovery/monitors/monitor-watch.ts';
import { configPrint } from '../../lib/runtime/config/config-print.ts';
import type { PrometheusConfig, ScrapeConfig } from '../../lib/runtime/config/prometheus-config.ts';

export class Monitors {
  readonly #hub: WatchHub;
  readonly #deps: GroupSourceDeps;
  #watch: MonitorWatch | undefined;
  /** Of what the watch was made with. */
  #print = '';

  /** `deps.onChange` is called when `scrapeConfigs` gives something else than before. */
  constructor(hub: WatchHub, deps: GroupSourceDeps) {
    this.#hub = hub;
    this.#deps = deps;
  }

  /** Watches as this configuration says; nothing happens where it says what the one before said. */
  async follow(config: PrometheusConfig): Promise<void> {
    const { monitors } = config;
    // The `global` section is part of what jobs are made of.
    const print = monitors === undefined ? '' : configPrint([monitors, config.redactedYaml]);
    if (print === this.#print) return;
    const before = this.#watch;
    this.#print = print;
    this.#watch =
      monitors === undefined ? undefined : new MonitorWatch(monitors, config, this.#hub, this.#deps);
    await this.#watch?.start();
    await before?.stop();
  }

  scrapeConfigs(): readonly ScrapeConfig[] {
    return this.#watch?.scrapeConfigs() ?? [];
  }

  problems(): readonly string[] {
    return this.#watch?.problems() ?? [];
  }

  async stop(): Promise<void> {
    await this.#watch?.stop();
  }
}
