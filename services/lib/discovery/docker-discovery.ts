// Targets of the containers that a Docker daemon runs: one per TCP port and network, with Prometheus' labels. Asked through the daemon's
// HTTP API, on its socket or over the network, in its own version.
import http from 'node:http';
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import type { DockerSdConfig, TargetGroup } from '../runtime/config/discovery-config.ts';
import { HttpClient, readText } from '../runtime/http-client.ts';
import type { GroupSource, GroupSourceDeps } from './group-source.ts';
import { isJsonObject, type JsonObject, textOf } from './json.ts';
import { createRefreshed } from './refreshed-discovery.ts';
import { joinHostPort, sanitizeLabelName } from './target-labels.ts';

const META = '__meta_docker_';
/** Ten thousand containers with labels are about 30 MB. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;
/** A refresh may take as long as it lasts until the next, and at least this. */
const ANSWER_MIN_MS = 10_000;
const ERROR_TEXT_MAX = 200;
/** Containers whose network is another container's whose network is another's …: a circle ends here. */
const SHARED_NETWORKS_MAX = 16;

type Ask = (path: string, signal: AbortSignal) => Promise<http.IncomingMessage>;

export function createDockerDiscovery(config: DockerSdConfig, deps: GroupSourceDeps): GroupSource {
  const { ask, close } = createAsk(config, deps);
  let seen = '';
  return createRefreshed(
    {
      intervalMs: config.refreshIntervalMs,
      refresh: async (before, signal) => {
        const ends = AbortSignal.any([
          signal,
          AbortSignal.timeout(Math.max(config.refreshIntervalMs, ANSWER_MIN_MS)),
        ]);
        try {
          const containers = await readList(ask, `/containers/json${queryOf(config)}`, ends);
          const networks = await readList(ask, '/networks', ends);
          const next = `${containers}\n${networks}`;
          if (next === seen) return { groups: before, problems: [] };
          const groups = [dockerGroup(parseList(containers), parseList(networks), config)];
          seen = next;
          return { groups, problems: [] };
        } catch (caught) {
          if (signal.aborted) throw caught;
          const reason = caught instanceof Error ? caught.message : String(caught);
          throw new AppError('unavailable', `docker_sd ${config.host}: ${reason}`, { cause: caught });
        }
      },
      close,
    },
    deps,
  );
}

function createAsk(config: DockerSdConfig, deps: GroupSourceDeps): { ask: Ask; close: () => void } {
  const headers = { accept: 'application/json', 'user-agent': 'Tidemark' };
  if (config.host.startsWith('unix://')) {
    const socketPath = config.host.slice('unix://'.length);
    const agent = new http.Agent({ keepAlive: true });
    return {
      ask: (path, signal) =>
        new Promise((resolve, reject) => {
          // The daemon wants a host, any host.
          const request = http.request({ socketPath, path, headers, signal, agent, host: 'docker' }, resolve);
          request.once('error', reject);
          request.end();
        }),
      close: () => agent.destroy(),
    };
  }
  const base = config.host.replace(/^tcp:/, 'http:').replace(/\/$/, '');
  const client = new HttpClient(config.http, deps);
  return {
    ask: (path, signal) => client.get(new URL(base + path), headers, signal),
    close: () => client.close(),
  };
}

function queryOf({ filters }: DockerSdConfig): string {
  if (filters.length === 0) return '';
  const values = new Map<string, string[]>();
  for (const filter of filters)
    values.set(filter.name, [...(values.get(filter.name) ?? []), ...filter.values]);
  return `?filters=${encodeURIComponent(JSON.stringify(Object.fromEntries(values)))}`;
}

async function readList(ask: Ask, path: string, signal: AbortSignal): Promise<string> {
  const response = await ask(path, signal);
  const text = await readText(response, BODY_BYTES_MAX);
  if (response.statusCode === 200) return text;
  const said = text.slice(0, ERROR_TEXT_MAX).trim();
  throw new AppError(
    'unavailable',
    `${path.replace(/\?.*/, '')}: HTTP status ${response.statusCode}${said === '' ? '' : ` (${said})`}`,
  );
}

/** @throws AppError `unavailable` when the answer is no list of objects. */
function parseList(text: string): readonly JsonObject[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw new AppError('unavailable', 'the answer is not JSON');
  }
  if (!Array.isArray(list) || !list.every(isJsonObject))
    throw new AppError('unavailable', 'the answer is not a list of objects');
  return list;
}

/** All targets of the containers, in one group. */
export function dockerGroup(
  containers: readonly JsonObject[],
  networks: readonly JsonObject[],
  config: DockerSdConfig,
): TargetGroup {
  const labelsOfNetwork = new Map(networks.map((each) => [textOf(each.Id), networkLabels(each)]));
  const byId = new Map(containers.map((each) => [textOf(each.Id), each]));
  const targets: string[] = [];
  const targetLabels: Labels[] = [];
  for (const container of containers) {
    const common = containerLabels(container);
    if (common === undefined) continue;
    for (const network of networksOf(container, byId, config.matchFirstNetwork)) {
      const ip = textOf(network.IPAddress) || textOf(network.GlobalIPv6Address);
      const shared: readonly (readonly [string, string])[] = [
        [`${META}network_ip`, ip],
        ...common,
        ...(labelsOfNetwork.get(textOf(network.NetworkID)) ?? []),
      ];
      for (const { address, labels } of addressesOf(container, ip, config)) {
        targets.push(address);
        targetLabels.push(Labels.from(new Map([...labels, ...shared])));
      }
    }
  }
  return { source: 'Docker', labels: Labels.from([]), targets, targetLabels };
}

/** Undefined when the container has no name: it is being made. */
function containerLabels(container: JsonObject): [string, string][] | undefined {
  const names = listOf(container.Names);
  if (names.length === 0) return undefined;
  return [
    [`${META}container_id`, textOf(container.Id)],
    [`${META}container_name`, textOf(names[0])],
    [`${META}container_network_mode`, networkModeOf(container)],
    ...prefixed(`${META}container_label_`, container.Labels),
  ];
}

function networkLabels(network: JsonObject): [string, string][] {
  return [
    [`${META}network_id`, textOf(network.Id)],
    [`${META}network_name`, textOf(network.Name)],
    [`${META}network_scope`, textOf(network.Scope)],
    [`${META}network_internal`, String(network.Internal === true)],
    [`${META}network_ingress`, String(network.Ingress === true)],
    ...prefixed(`${META}network_label_`, network.Labels),
  ];
}

function prefixed(prefix: string, values: unknown): [string, string][] {
  if (!isJsonObject(values)) return [];
  return Object.entries(values).map(([name, value]) => [
    `${prefix}${sanitizeLabelName(name)}`,
    textOf(value),
  ]);
}

/** The networks that a container is in, by name; those of the container whose network it shares where it has none of its own. */
function networksOf(
  container: JsonObject,
  byId: ReadonlyMap<string, JsonObject>,
  firstOnly: boolean,
): readonly JsonObject[] {
  let own = namedNetworks(container);
  let mode = networkModeOf(container);
  for (let i = 0; own.size === 0 && mode.startsWith('container:') && i < SHARED_NETWORKS_MAX; i++) {
    const other = byId.get(mode.slice('container:'.length));
    if (other === undefined) break;
    own = namedNetworks(other);
    mode = networkModeOf(other);
  }
  const networks = [...own.keys()]
    .toSorted()
    .map((name) => own.get(name))
    .filter(isJsonObject);
  return firstOnly ? networks.slice(0, 1) : networks;
}

function namedNetworks(container: JsonObject): Map<string, unknown> {
  const settings = isJsonObject(container.NetworkSettings) ? container.NetworkSettings.Networks : undefined;
  return new Map(isJsonObject(settings) ? Object.entries(settings) : []);
}

function networkModeOf(container: JsonObject): string {
  return isJsonObject(container.HostConfig) ? textOf(container.HostConfig.NetworkMode) : '';
}

interface PortTarget {
  readonly address: string;
  readonly labels: readonly (readonly [string, string])[];
}

/** An address per TCP port; one with the port of the configuration where there is none. */
function addressesOf(container: JsonObject, ip: string, config: DockerSdConfig): readonly PortTarget[] {
  const ports = listOf(container.Ports)
    .filter(isJsonObject)
    .filter((port) => port.Type === 'tcp');
  if (ports.length === 0) {
    const isHost = networkModeOf(container) === 'host';
    return [{ address: isHost ? config.hostNetworkingHost : joinHostPort(ip, config.port), labels: [] }];
  }
  return ports.map((port) => {
    const { PrivatePort: inner, PublicPort: outer } = port;
    const labels: [string, string][] = [[`${META}port_private`, String(numberOf(inner))]];
    if (numberOf(outer) > 0) {
      labels.push(
        [`${META}port_public`, String(numberOf(outer))],
        [`${META}port_public_ip`, textOf(port.IP)],
      );
    }
    return { address: joinHostPort(ip, numberOf(inner)), labels };
  });
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
