// What a gateway may know of and ask from its process: made from parsed flags, the configuration file and a few hooks. Used by
// the gateway's own main and by all-in-one.

import { formatDuration } from '../lib/model/duration.ts';
import type { ConfigHolder } from '../lib/runtime/config-holder.ts';
import type { BuildInformation, ClusterView, GatewayHost, ReloadOutcome } from './host.ts';

/** The Prometheus release whose API and PromQL this version follows. */
const PROMETHEUS_VERSION = '3.14.0';

export interface HostOptions {
  readonly version: string;
  /** All flags as parsed. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly retentionMs: number;
  readonly retentionBytes: number;
}

export interface HostDeps {
  readonly startedAtMs: number;
  readonly config: ConfigHolder;
  readonly reload: () => Promise<void>;
  readonly isReady: () => boolean;
  readonly shutdown: (reason: string) => void;
  /** The cluster; absent in a process that is one by itself. */
  readonly members?: () => ClusterView;
  readonly forgetStore?: (instance: string) => Promise<void>;
  readonly setStoreLeaving?: (instance: string, leaving: boolean) => Promise<void>;
}

/** Makes the gateway's view of this process. */
export function createHost(options: HostOptions, deps: HostDeps): GatewayHost {
  const flags = new Map(Object.entries(options.flags).map(([name, value]) => [name, printFlag(name, value)]));
  return {
    version: options.version,
    buildInformation: buildInformationOf(options.version),
    startedAtMs: deps.startedAtMs,
    storageRetention: retentionOf(options),
    flags: () => flags,
    externalLabels: () => deps.config.config.global.externalLabels.entries(),
    configYaml: () => deps.config.config.redactedYaml,
    lastReload: (): ReloadOutcome => deps.config.state,
    reload: deps.reload,
    isReady: deps.isReady,
    shutdown: deps.shutdown,
    ...(deps.members === undefined ? {} : { members: deps.members }),
    ...(deps.forgetStore === undefined ? {} : { forgetStore: deps.forgetStore }),
    ...(deps.setStoreLeaving === undefined ? {} : { setStoreLeaving: deps.setStoreLeaving }),
  };
}

function buildInformationOf(version: string): BuildInformation {
  return {
    version: PROMETHEUS_VERSION,
    revision: `tidemark-${version}`,
    branch: 'main',
    buildUser: '',
    buildDate: '',
    goVersion: `nodejs ${process.version}`,
  };
}

function retentionOf(options: HostOptions): string {
  const time = formatDuration(options.retentionMs);
  return options.retentionBytes > 0 ? `${time} or ${options.retentionBytes}B` : time;
}

/** Durations are milliseconds inside and print as Prometheus prints them. */
function printFlag(name: string, value: unknown): string {
  if (Array.isArray(value)) return value.join(',');
  const isDuration = /(retention\.time|timeout|delta|tolerance|period|delay|window)$/.test(name);
  return typeof value === 'number' && isDuration ? formatDuration(value) : String(value);
}
