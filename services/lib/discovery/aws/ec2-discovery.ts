// Targets of EC2 instances: DescribeInstances, page by page, with Prometheus' labels.
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { childOf, itemsOf, textAt, type XmlElement } from '../../core/xml.ts';
import { Labels } from '../../model/labels.ts';
import type { Ec2SdConfig, TargetGroup } from '../../runtime/config/discovery-config.ts';
import { PLAIN_HTTP } from '../../runtime/config/http-client-section.ts';
import { HttpClient } from '../../runtime/http-client.ts';
import type { GroupSource, GroupSourceDeps } from '../group-source.ts';
import { createRefreshed } from '../refreshed-discovery.ts';
import { joinHostPort, sanitizeLabelName } from '../target-labels.ts';
import { AwsRefusal, callAws } from './aws-api.ts';
import { type AwsSource, awsEndpoint, createAwsSource, type Variables } from './aws-credentials.ts';

const META = '__meta_ec2_';
const API_VERSION = '2016-11-15';
/** A refresh may take as long as it lasts until the next, and at least this. */
const ANSWER_MIN_MS = 10_000;
const SEPARATOR = ',';
/** Pages of 100 … 1,000 instances; a server that never ends ends here. */
const PAGES_MAX = 10_000;
/** Network cards of an instance, many more than there are. */
const DEVICES_MAX = 256;

export function createEc2Discovery(
  config: Ec2SdConfig,
  variables: Variables,
  deps: GroupSourceDeps,
): GroupSource {
  // Signatures are of one host: whatever redirects is no AWS.
  const client = new HttpClient({ ...config.http, followRedirects: false }, deps);
  const own = new HttpClient({ ...PLAIN_HTTP, followRedirects: false }, deps);
  const source = createAwsSource(config, { clock: deps.clock, variables, client: own });
  const api = new Ec2Api(config, variables, source, client, deps.clock);
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
          const group = await api.discover(ends);
          const next = printOf(group);
          if (next === seen) return { groups: before, problems: [] };
          seen = next;
          return { groups: [group], problems: [] };
        } catch (caught) {
          if (signal.aborted) throw caught;
          if (caught instanceof AwsRefusal) source.forget();
          const reason = caught instanceof Error ? caught.message : String(caught);
          throw new AppError('unavailable', `ec2_sd ${config.region || 'of this environment'}: ${reason}`, {
            cause: caught,
          });
        }
      },
      close: () => {
        client.close();
        own.close();
      },
    },
    deps,
  );
}

class Ec2Api {
  readonly #config: Ec2SdConfig;
  readonly #variables: Variables;
  readonly #source: AwsSource;
  readonly #client: HttpClient;
  readonly #clock: Clock;
  /** Names of zones → their ids, which are the same in all accounts. Asked for once. */
  #zoneIds: ReadonlyMap<string, string> | undefined;

  constructor(
    config: Ec2SdConfig,
    variables: Variables,
    source: AwsSource,
    client: HttpClient,
    clock: Clock,
  ) {
    this.#clock = clock;
    this.#config = config;
    this.#variables = variables;
    this.#source = source;
    this.#client = client;
  }

  async discover(signal: AbortSignal): Promise<TargetGroup> {
    const region = await this.#source.region(signal);
    // Who may not ask for zones has targets without their ids.
    this.#zoneIds ??= await this.#readZones(region, signal).catch(() => undefined);
    const targets: string[] = [];
    const targetLabels: Labels[] = [];
    let token = '';
    for (let page = 0; page < PAGES_MAX; page++) {
      const answer = await this.#call(region, this.#query(token), signal);
      for (const reservation of itemsOf(answer, 'reservationSet')) {
        for (const instance of itemsOf(reservation, 'instancesSet')) {
          const found = instanceTarget(instance, {
            ownerId: textAt(reservation, 'ownerId'),
            region,
            port: this.#config.port,
            zoneIds: this.#zoneIds ?? new Map(),
          });
          if (found === undefined) continue;
          targets.push(found.address);
          targetLabels.push(found.labels);
        }
      }
      token = textAt(answer, 'nextToken') ?? '';
      if (token === '') return { source: region, labels: Labels.from([]), targets, targetLabels };
    }
    throw new AppError('resource_exhausted', `DescribeInstances has more than ${PAGES_MAX} pages`);
  }

  #query(token: string): readonly (readonly [string, string])[] {
    const parameters: [string, string][] = [['Action', 'DescribeInstances']];
    this.#config.filters.forEach(({ name, values }, i) => {
      parameters.push([`Filter.${i + 1}.Name`, name]);
      values.forEach((value, j) => {
        parameters.push([`Filter.${i + 1}.Value.${j + 1}`, value]);
      });
    });
    if (token !== '') parameters.push(['NextToken', token]);
    return parameters;
  }

  async #readZones(region: string, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const answer = await this.#call(region, [['Action', 'DescribeAvailabilityZones']], signal);
    return new Map(
      itemsOf(answer, 'availabilityZoneInfo').map((zone) => [
        textAt(zone, 'zoneName') ?? '',
        textAt(zone, 'zoneId') ?? '',
      ]),
    );
  }

  async #call(
    region: string,
    parameters: readonly (readonly [string, string])[],
    signal: AbortSignal,
  ): Promise<XmlElement> {
    return callAws({
      client: this.#client,
      url: this.#config.endpoint || awsEndpoint('ec2', region, this.#variables),
      service: 'ec2',
      region,
      credentials: await this.#source.credentials(signal),
      parameters: [...parameters, ['Version', API_VERSION]],
      timeMs: this.#clock.nowMs(),
      signal,
    });
  }
}

export interface InstanceContext {
  readonly ownerId: string | undefined;
  readonly region: string;
  readonly port: number;
  readonly zoneIds: ReadonlyMap<string, string>;
}

/** Address and labels of one instance; undefined when it has no address that can be scraped. */
export function instanceTarget(
  instance: XmlElement,
  context: InstanceContext,
): { readonly address: string; readonly labels: Labels } | undefined {
  const { ownerId, region, port, zoneIds } = context;
  const privateIp = textAt(instance, 'privateIpAddress');
  const v6 = addressesV6(instance);
  const host = privateIp ?? v6.fallback;
  if (host === undefined) return undefined;
  const zone = textAt(instance, 'placement', 'availabilityZone') ?? '';
  const publicIp = textAt(instance, 'ipAddress');
  const labels = new Map<string, string>();
  const put = (name: string, value: string | undefined): void => {
    if (value !== undefined) labels.set(META + name, value);
  };
  put('instance_id', textAt(instance, 'instanceId') ?? '');
  put('region', region);
  put('owner_id', ownerId);
  put('default_ipv6_address', v6.fallback);
  put('private_ip', privateIp);
  put('private_dns_name', textAt(instance, 'privateDnsName'));
  put('platform', textAt(instance, 'platform') || undefined);
  put('public_ip', publicIp);
  if (publicIp !== undefined) put('public_dns_name', textAt(instance, 'dnsName') ?? '');
  put('primary_ipv6_addresses', separated(v6.primary));
  put('ipv6_addresses', separated(v6.all));
  put('ami', textAt(instance, 'imageId') ?? '');
  put('availability_zone', zone);
  put('availability_zone_id', zoneIds.get(zone) ?? '');
  put('instance_state', textAt(instance, 'instanceState', 'name') ?? '');
  put('instance_type', textAt(instance, 'instanceType') ?? '');
  put('instance_lifecycle', textAt(instance, 'instanceLifecycle') || undefined);
  put('architecture', textAt(instance, 'architecture') || undefined);
  const vpc = textAt(instance, 'vpcId');
  put('vpc_id', vpc);
  if (vpc !== undefined) {
    put('primary_subnet_id', textAt(instance, 'subnetId') ?? '');
    put('subnet_id', `${SEPARATOR}${subnetsOf(instance).join(SEPARATOR)}${SEPARATOR}`);
  }
  for (const tag of itemsOf(instance, 'tagSet')) {
    const [key, value] = [textAt(tag, 'key'), textAt(tag, 'value')];
    if (key !== undefined && value !== undefined) put(`tag_${sanitizeLabelName(key)}`, value);
  }
  return { address: joinHostPort(host, port), labels: Labels.from(labels) };
}

/** Separators around all of them: a regular expression need not care which comes first. */
function separated(values: readonly string[]): string | undefined {
  return values.length === 0 ? undefined : `${SEPARATOR}${values.join(SEPARATOR)}${SEPARATOR}`;
}

/** Each once, in the order of the network cards. */
function subnetsOf(instance: XmlElement): readonly string[] {
  const subnets = itemsOf(instance, 'networkInterfaceSet').map((card) => textAt(card, 'subnetId'));
  return [...new Set(subnets.filter((subnet) => subnet !== undefined))];
}

/** IPv6 addresses of an instance in a VPC; the primary ones at the index of their card. */
function addressesV6(instance: XmlElement): {
  readonly all: readonly string[];
  readonly primary: readonly string[];
  readonly fallback: string | undefined;
} {
  const all: string[] = [];
  const primary: string[] = [];
  if (childOf(instance, 'vpcId') !== undefined) {
    for (const card of itemsOf(instance, 'networkInterfaceSet')) {
      if (childOf(card, 'subnetId') === undefined) continue;
      const device = Number(textAt(card, 'attachment', 'deviceIndex') ?? 0);
      for (const each of itemsOf(card, 'ipv6AddressesSet')) {
        const address = textAt(each, 'ipv6Address') ?? '';
        all.push(address);
        if (textAt(each, 'isPrimaryIpv6') !== 'true' || !(device >= 0 && device < DEVICES_MAX)) continue;
        while (primary.length <= device) primary.push('');
        primary[device] = address;
      }
    }
  }
  return { all, primary, fallback: [...primary, ...all].find((address) => address !== '') };
}

function printOf({ targets, targetLabels }: TargetGroup): string {
  return targets.map((target, i) => `${target} ${targetLabels![i]!.key}`).join('\n');
}
