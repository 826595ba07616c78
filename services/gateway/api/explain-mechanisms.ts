// How each kind of service discovery names what it finds, for explain-target.ts: which labels hold the names that people ask by, what is
// worth telling of a target, and what to look at where nothing is found.

/** A kind of discovery. Kubernetes has subjects of its own in explain-target.ts. */
export interface Mechanism {
  /** First word of a subject: `consul/web`. */
  readonly word: string;
  /** Its key in a scrape configuration. */
  readonly section: string;
  /** Targets of this kind have a label that begins so. */
  readonly prefix: string;
  /** Labels whose value is what people ask by. */
  readonly names: readonly string[];
  /** Word and label of what is told of a target. */
  readonly told: readonly (readonly [word: string, label: string])[];
  /** What decides whether such a target is found at all, in the order in which it is decided. */
  readonly hints: readonly string[];
}

const CONSUL = '__meta_consul_';
const DOCKER = '__meta_docker_';
const EC2 = '__meta_ec2_';
const DNS = '__meta_dns_';

export const MECHANISMS: readonly Mechanism[] = [
  {
    word: 'file',
    section: 'file_sd_configs',
    prefix: '__meta_filepath',
    names: ['__meta_filepath'],
    told: [['file', '__meta_filepath']],
    hints: [
      'selector: a pattern of files that matches none is no error; compare it with the folder as the scraper sees it',
      'permission: the scraper has to be able to read the file',
      'content: a list of {targets: [host:port], labels: {}} in JSON or YAML; a damaged file keeps its last good content',
    ],
  },
  {
    word: 'http',
    section: 'http_sd_configs',
    prefix: '__meta_url',
    names: ['__meta_url'],
    told: [['URL', '__meta_url']],
    hints: [
      'permission: the URL has to answer 200 to the credentials of its own item, not to those of the job',
      'content: application/json, a list of {targets: [host:port], labels: {}}',
    ],
  },
  {
    word: 'dns',
    section: 'dns_sd_configs',
    prefix: DNS,
    names: [`${DNS}name`, `${DNS}srv_record_target`, `${DNS}mx_record_target`, `${DNS}ns_record_target`],
    told: [['name', `${DNS}name`]],
    hints: [
      'selector: names and type (SRV where nothing is said); ask the scraper’s own name server: dig NAME SRV',
    ],
  },
  {
    word: 'consul',
    section: 'consul_sd_configs',
    prefix: CONSUL,
    names: [`${CONSUL}service`, `${CONSUL}service_id`, `${CONSUL}node`, `${CONSUL}address`],
    told: [
      ['service', `${CONSUL}service`],
      ['node', `${CONSUL}node`],
      ['health', `${CONSUL}health`],
    ],
    hints: [
      'selector: services, tags (all of them), node_meta, filter and datacenter decide what is asked for',
      'permission: the token needs service:read and node:read; without it Consul answers an empty list',
      'endpoint: a service without an address of its own has its node’s',
    ],
  },
  {
    word: 'docker',
    section: 'docker_sd_configs',
    prefix: DOCKER,
    names: [`${DOCKER}container_name`, `${DOCKER}container_id`, `${DOCKER}network_ip`],
    told: [
      ['container', `${DOCKER}container_name`],
      ['network', `${DOCKER}network_name`],
    ],
    hints: [
      'selector: filters decide which containers are listed; one that does not run is not',
      'permission: the scraper has to reach the daemon (host) and may list containers and networks',
      'endpoint: a container needs a network with an address; in host mode its target is host_networking_host',
    ],
  },
  {
    word: 'ec2',
    section: 'ec2_sd_configs',
    prefix: EC2,
    names: [
      `${EC2}instance_id`,
      `${EC2}private_ip`,
      `${EC2}public_ip`,
      `${EC2}private_dns_name`,
      `${EC2}tag_Name`,
    ],
    told: [
      ['instance', `${EC2}instance_id`],
      ['state', `${EC2}instance_state`],
    ],
    hints: [
      'selector: region and filters decide which instances are listed',
      'permission: ec2:DescribeInstances (and ec2:DescribeAvailabilityZones for one label)',
      'endpoint: an instance without a private address is no target',
    ],
  },
  {
    word: 'static',
    section: 'static_configs',
    prefix: '',
    names: ['__address__', 'instance'],
    told: [],
    hints: ['static_configs of some job has to name it; a port is part of the address'],
  },
];

/** By the first word of a subject. */
export function mechanismOf(word: string): Mechanism | undefined {
  return MECHANISMS.find((each) => each.word === word.toLowerCase());
}

/** The kind of discovery that found labels; static where none did. */
export function mechanismThatFound(labels: Readonly<Record<string, string>>): Mechanism | undefined {
  const metas = Object.keys(labels).filter((name) => name.startsWith('__meta_'));
  if (metas.some((name) => name.startsWith('__meta_kubernetes_'))) return undefined;
  const isFoundBy = ({ prefix }: Mechanism): boolean =>
    prefix !== '' && metas.some((name) => name.startsWith(prefix));
  return MECHANISMS.find(isFoundBy) ?? (metas.length === 0 ? mechanismOf('static') : undefined);
}

/** Whether a target of this kind goes by a name: the whole value of a label, or the last part of a path. */
export function isNamed(
  mechanism: Mechanism,
  labels: Readonly<Record<string, string>>,
  name: string,
): boolean {
  if (mechanismThatFound(labels) !== mechanism) return false;
  return mechanism.names.some((label) => {
    const value = labels[label];
    return value !== undefined && (value === name || value.endsWith(`/${name}`));
  });
}
