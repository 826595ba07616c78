// All discovery of one section (a scrape job, an Alertmanager list) as one list of target groups that changes over time.
import { unreachable } from '../core/assert.ts';
import type { AskedDiscoveryConfig, DiscoveryConfigs } from '../runtime/config/discovery-config.ts';
import { createEc2Discovery } from './aws/ec2-discovery.ts';
import { ConsulDiscovery } from './consul-discovery.ts';
import { createDnsDiscovery, type DnsEnvironment } from './dns-discovery.ts';
import { createDockerDiscovery } from './docker-discovery.ts';
import { FileDiscovery } from './file-discovery.ts';
import type { GroupSource, GroupSourceDeps } from './group-source.ts';
import { createHttpDiscovery } from './http-discovery.ts';
import { KubernetesDiscovery } from './kubernetes/kubernetes-discovery.ts';
import type { WatchHub } from './kubernetes/watch-hub.ts';

/** Target groups of one section: static ones first. */
export type Discovery = GroupSource;

/** What the sections of a process share. */
export interface DiscoverySources {
  readonly hub: WatchHub;
  readonly dns: DnsEnvironment;
  /** Variables of the process, where AWS' own tools look for credentials. Default: none. */
  readonly variables?: Readonly<Record<string, string | undefined>>;
  /** Where several processes share what one of them discovers: makes the source of an item of which `createLocal` is the whole work. */
  readonly share?: (
    config: AskedDiscoveryConfig,
    deps: GroupSourceDeps,
    createLocal: (deps: GroupSourceDeps) => GroupSource,
  ) => GroupSource;
}

export interface DiscoveryDeps extends GroupSourceDeps {
  readonly sources: DiscoverySources;
}

/** Starts nothing by itself; `deps.onChange` is called whenever `groups()` gives something else than before. */
export function createDiscovery(configs: DiscoveryConfigs, deps: DiscoveryDeps): Discovery {
  const sources: readonly GroupSource[] = [
    ...configs.fileSdConfigs.map((config) => new FileDiscovery(config, deps)),
    ...(configs.askedConfigs ?? []).map((config) => {
      const createLocal = (own: GroupSourceDeps): GroupSource => createSource(config, deps.sources, own);
      return deps.sources.share?.(config, deps, createLocal) ?? createLocal(deps);
    }),
  ];
  return {
    start: async () => {
      await Promise.all(sources.map((each) => each.start()));
    },
    groups: () => [...configs.staticConfigs, ...sources.flatMap((each) => [...each.groups()])],
    problems: () => sources.flatMap((each) => [...each.problems()]),
    stop: async () => {
      await Promise.all(sources.map((each) => each.stop()));
    },
  };
}

function createSource(
  config: AskedDiscoveryConfig,
  sources: DiscoverySources,
  deps: GroupSourceDeps,
): GroupSource {
  switch (config.kind) {
    case 'kubernetes':
      return new KubernetesDiscovery(config, sources.hub, deps);
    case 'http':
      return createHttpDiscovery(config, deps);
    case 'dns':
      return createDnsDiscovery(config, sources.dns, deps);
    case 'consul':
      return new ConsulDiscovery(config, deps);
    case 'docker':
      return createDockerDiscovery(config, deps);
    case 'ec2':
      return createEc2Discovery(config, sources.variables ?? {}, deps);
    default:
      return unreachable(config);
  }
}
