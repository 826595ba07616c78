// All discovery of one section (a scrape job, an Alertmanager list) as one list of target groups that changes over time.
import type { DiscoveryConfigs, TargetGroup } from '../runtime/config/discovery-config.ts';
import { FileDiscovery, type FileDiscoveryDeps } from './file-discovery.ts';

/** Target groups of one section. */
export interface Discovery {
  /** Resolves once the first groups are known. */
  start(): Promise<void>;
  /** The groups now, static ones first. */
  groups(): readonly TargetGroup[];
  stop(): Promise<void>;
}

/** Starts nothing by itself; `deps.onChange` is called whenever `groups()` gives something else than before. */
export function createDiscovery(configs: DiscoveryConfigs, deps: FileDiscoveryDeps): Discovery {
  const files = configs.fileSdConfigs.map((config) => new FileDiscovery(config, deps));
  return {
    start: async () => {
      await Promise.all(files.map((each) => each.start()));
    },
    groups: () => [...configs.staticConfigs, ...files.flatMap((each) => [...each.groups()])],
    stop: async () => {
      await Promise.all(files.map((each) => each.stop()));
    },
  };
}
