// Targets from DNS records. Names are looked up as the machine's resolv.conf says, with its search list.
import { promises as dns } from 'node:dns';
import { readFile } from 'node:fs/promises';
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import type { DnsRecordType, DnsSdConfig, TargetGroup } from '../runtime/config/discovery-config.ts';
import type { GroupSource, GroupSourceDeps } from './group-source.ts';
import { createRefreshed } from './refreshed-discovery.ts';
import { joinHostPort } from './target-labels.ts';

/** For one attempt at one server; the resolver tries each twice. */
const QUERY_TIMEOUT_MS = 2_000;
/** Names that are asked for at one time. */
const NAMES_AT_ONCE = 16;

/** How names are looked up. */
export interface DnsEnvironment {
  readonly resolvConf: string;
  /** `host:port` instead of the servers of resolv.conf. */
  readonly servers?: readonly string[];
}

export const SYSTEM_DNS: DnsEnvironment = { resolvConf: '/etc/resolv.conf' };

interface Found {
  readonly address: string;
  readonly labels: readonly (readonly [string, string])[];
}

export function createDnsDiscovery(
  config: DnsSdConfig,
  environment: DnsEnvironment,
  deps: GroupSourceDeps,
): GroupSource {
  return createRefreshed(
    {
      intervalMs: config.refreshIntervalMs,
      refresh: async (before) => {
        const search = await readSearchList(environment.resolvConf);
        const problems: string[] = [];
        const groups: TargetGroup[] = [];
        for (let i = 0; i < config.names.length; i += NAMES_AT_ONCE) {
          const names = config.names.slice(i, i + NAMES_AT_ONCE);
          const found = await Promise.all(
            names.map(async (name) => {
              try {
                return groupOf(name, await lookUp(name, config, search, environment));
              } catch (caught) {
                problems.push(caught instanceof Error ? caught.message : String(caught));
                return before.find(({ source }) => source === name);
              }
            }),
          );
          groups.push(...found.filter((group) => group !== undefined));
        }
        return { groups: isSame(before, groups) ? before : groups, problems };
      },
    },
    deps,
  );
}

function groupOf(name: string, found: readonly Found[]): TargetGroup {
  return {
    source: name,
    labels: Labels.from([['__meta_dns_name', name]]),
    targets: found.map(({ address }) => address),
    targetLabels: found.map(({ labels }) => Labels.from(labels)),
  };
}

/** Records come in any order; a server turns them around with every answer. */
function isSame(a: readonly TargetGroup[], b: readonly TargetGroup[]): boolean {
  const print = (groups: readonly TargetGroup[]): string =>
    JSON.stringify(
      groups.map(({ source, targets, targetLabels }) => [
        source,
        targets.map((target, i) => [target, ...targetLabels![i]!.pairs].join(' ')).toSorted(),
      ]),
    );
  return a.length === b.length && print(a) === print(b);
}

/** The first name of the search list that exists; no targets when all servers say that none does. */
async function lookUp(
  name: string,
  config: DnsSdConfig,
  search: SearchList,
  environment: DnsEnvironment,
): Promise<readonly Found[]> {
  const resolver = new dns.Resolver({ timeout: QUERY_TIMEOUT_MS, tries: 2 });
  if (environment.servers !== undefined) resolver.setServers([...environment.servers]);
  let failure: unknown;
  for (const candidate of candidates(name, search)) {
    try {
      return await records(resolver, candidate, config.type, config.port);
    } catch (caught) {
      const { code } = caught as NodeJS.ErrnoException;
      if (code === 'ENODATA') return [];
      if (code !== 'ENOTFOUND') failure = caught;
    }
  }
  if (failure === undefined) return [];
  const reason = failure instanceof Error ? failure.message : JSON.stringify(failure);
  throw new AppError('unavailable', `dns_sd ${config.type} ${name}: ${reason}`, { cause: failure });
}

async function records(
  resolver: dns.Resolver,
  name: string,
  type: DnsRecordType,
  port: number,
): Promise<readonly Found[]> {
  switch (type) {
    case 'A':
      return (await resolver.resolve4(name)).map((address) => found(address, port, []));
    case 'AAAA':
      return (await resolver.resolve6(name)).map((address) => found(address, port, []));
    case 'SRV':
      return (await resolver.resolveSrv(name)).map((record) =>
        found(record.name, record.port, [
          ['__meta_dns_srv_record_target', `${record.name}.`],
          ['__meta_dns_srv_record_port', String(record.port)],
        ]),
      );
    case 'MX':
      return (await resolver.resolveMx(name)).map(({ exchange }) =>
        found(exchange, port, [['__meta_dns_mx_record_target', `${exchange}.`]]),
      );
    case 'NS':
      return (await resolver.resolveNs(name)).map((server) =>
        found(server, port, [['__meta_dns_ns_record_target', `${server}.`]]),
      );
  }
}

function found(host: string, port: number, labels: readonly (readonly [string, string])[]): Found {
  return { address: joinHostPort(host, port), labels };
}

interface SearchList {
  readonly domains: readonly string[];
  readonly ndots: number;
}

/** Without the file the name is asked for as it is. */
async function readSearchList(file: string): Promise<SearchList> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return parseSearchList(text);
}

export function parseSearchList(text: string): SearchList {
  let domains: readonly string[] = [];
  let ndots = 1;
  for (const line of text.split('\n')) {
    const [key, ...values] = line.trim().split(/\s+/);
    if (key === 'search') domains = values;
    if (key === 'domain') domains = values.slice(0, 1);
    if (key !== 'options') continue;
    const option = values.find((value) => value.startsWith('ndots:'));
    const number = option === undefined ? Number.NaN : Number(option.slice('ndots:'.length));
    if (Number.isInteger(number)) ndots = Math.min(Math.max(number, 0), 15);
  }
  return { domains, ndots };
}

/** What is asked for, in order: a name of more parts than `ndots` first as it is, others last. */
export function candidates(name: string, { domains, ndots }: SearchList): readonly string[] {
  if (name.endsWith('.')) return [name];
  const plain = `${name}.`;
  const within = domains.map((domain) => (domain === '.' ? plain : `${plain}${domain.replace(/\.?$/, '.')}`));
  return name.split('.').length > ndots ? [plain, ...within] : [...within, plain];
}
