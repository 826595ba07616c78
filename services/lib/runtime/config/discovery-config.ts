// Service discovery as the configuration file asks for it: target groups that stand in the file, and the kinds that ask
// somebody. The reader is discovery-section.ts; services/lib/discovery runs them.
import type { Labels } from '../../model/labels.ts';
import type { HttpClientConfig } from './http-client-config.ts';
import type { Secret } from './secret.ts';

export interface TargetGroup {
  /** Addresses: host:port. */
  readonly targets: readonly string[];
  readonly labels: Labels;
  /**
   * Labels of single targets, in the order of `targets`; where a name stands in both, these win over the group's. Absent:
   * none has any. A target's own `__address__` is its address.
   */
  readonly targetLabels?: readonly Labels[];
  /** Where the group came from, unique within one discovery: `0`, a file's path, `pod/namespace/name`. */
  readonly source: string;
}

/** Service discovery of one section that this version runs; other kinds are checked and stand in `notices`. */
export interface DiscoveryConfigs {
  readonly staticConfigs: readonly TargetGroup[];
  readonly fileSdConfigs: readonly {
    readonly files: readonly string[];
    readonly refreshIntervalMs: number;
  }[];
  /** Kinds that ask a server, in the order of their names. Absent means none. */
  readonly askedConfigs?: readonly AskedDiscoveryConfig[];
}

export type AskedDiscoveryConfig =
  | KubernetesSdConfig
  | HttpSdConfig
  | DnsSdConfig
  | ConsulSdConfig
  | DockerSdConfig
  | Ec2SdConfig;

export type KubernetesRole = 'node' | 'service' | 'pod' | 'endpoints' | 'endpointslice' | 'ingress';

/** Restricts what is listed and watched: both as Kubernetes' API spells them; empty means all. */
export interface KubernetesSelector {
  readonly role: KubernetesRole;
  readonly label: string;
  readonly field: string;
}

/** How the API server is reached. */
export interface KubernetesAccess {
  /** URL; undefined: by the kubeconfig file, or as a pod reaches its own cluster. */
  readonly apiServer: string | undefined;
  readonly kubeconfigFile: string | undefined;
  /** Of use with `apiServer` only. */
  readonly http: HttpClientConfig;
}

export interface KubernetesSdConfig extends KubernetesAccess {
  readonly kind: 'kubernetes';
  readonly role: KubernetesRole;
  /** Nothing named and `ownNamespace` false: all namespaces. */
  readonly namespaces: readonly string[];
  readonly ownNamespace: boolean;
  readonly selectors: readonly KubernetesSelector[];
  readonly attach: KubernetesAttach;
}

/** Further objects whose labels targets get. */
export interface KubernetesAttach {
  readonly node: boolean;
  readonly namespace: boolean;
  readonly deployment: boolean;
  readonly job: boolean;
  readonly cronjob: boolean;
}

export interface HttpSdConfig {
  readonly kind: 'http';
  readonly url: string;
  readonly refreshIntervalMs: number;
  readonly http: HttpClientConfig;
}

export type DnsRecordType = 'A' | 'AAAA' | 'SRV' | 'MX' | 'NS';

export interface DnsSdConfig {
  readonly kind: 'dns';
  readonly names: readonly string[];
  readonly type: DnsRecordType;
  /** For all types but SRV, which brings its own. */
  readonly port: number;
  readonly refreshIntervalMs: number;
}

export interface ConsulSdConfig {
  readonly kind: 'consul';
  /** `host:port`, or a URL. */
  readonly server: string;
  readonly scheme: string;
  readonly pathPrefix: string;
  readonly token: Secret | undefined;
  readonly datacenter: string;
  readonly namespace: string;
  readonly partition: string;
  readonly tagSeparator: string;
  readonly allowStale: boolean;
  readonly refreshIntervalMs: number;
  /** Names; empty means all. */
  readonly services: readonly string[];
  /** A service must have all of them. */
  readonly tags: readonly string[];
  readonly nodeMeta: ReadonlyMap<string, string>;
  readonly filter: string;
  readonly healthFilter: string;
  readonly http: HttpClientConfig;
}

/** Restricts what a server lists: any of the values, for each of the names. */
export interface DiscoveryFilter {
  readonly name: string;
  readonly values: readonly string[];
}

export interface DockerSdConfig {
  readonly kind: 'docker';
  /** URL of the daemon: `unix://`, `tcp://`, `http://` or `https://`. */
  readonly host: string;
  /** For containers without a TCP port. */
  readonly port: number;
  /** Address of containers that have the host's network. */
  readonly hostNetworkingHost: string;
  /** A container of several networks is a target in the first one only. */
  readonly matchFirstNetwork: boolean;
  readonly filters: readonly DiscoveryFilter[];
  readonly refreshIntervalMs: number;
  /** Of use with `http://` and `https://`. */
  readonly http: HttpClientConfig;
}

export interface Ec2SdConfig {
  readonly kind: 'ec2';
  /** URL of the API; empty: the region's. */
  readonly endpoint: string;
  /** Empty: as the environment says, or the instance that this process runs on. */
  readonly region: string;
  /** Both empty: from the environment, a profile, a role of the pod, the task or the instance. */
  readonly accessKey: string;
  readonly secretKey: Secret | undefined;
  readonly profile: string;
  /** A role to take on with these credentials; empty: none. */
  readonly roleArn: string;
  readonly externalId: string;
  readonly port: number;
  readonly filters: readonly DiscoveryFilter[];
  readonly refreshIntervalMs: number;
  readonly http: HttpClientConfig;
}

/** Custom resources of a Kubernetes cluster that say what to scrape: `tidemark.kubernetes_monitors`. */
export interface MonitorsConfig extends KubernetesAccess {
  /** Where monitors are looked for; none: in all. */
  readonly namespaces: readonly string[];
  /** Labels of namespaces whose monitors count, as the API spells a selector; empty: all. */
  readonly namespaceSelector: string;
  /** Labels of monitors that count, by kind; empty: all, undefined: none of this kind. */
  readonly serviceMonitors: string | undefined;
  readonly podMonitors: string | undefined;
  readonly probes: string | undefined;
  readonly scrapeConfigs: string | undefined;
  /** Role of ServiceMonitors that name none. */
  readonly serviceRole: 'endpoints' | 'endpointslice';
  /** Monitors may not name files of the scrapers. */
  readonly deniesFiles: boolean;
}
