// What one node-exporter exposes, in outline: the families of its scrape with their labels and how their values move. Written from
// the exporter's documentation; numbers are chosen so that a target has about 400 series, mostly counters, as real ones do.

/** How a value moves from scrape to scrape. */
export type Movement = 'counter' | 'gauge' | 'constant';

export interface Family {
  readonly name: string;
  readonly movement: Movement;
  /** Label names and all their values; every combination is a series. */
  readonly labels: Readonly<Record<string, readonly string[]>>;
  /** Where values begin. */
  readonly start: number;
  /** Counters: mean growth per second. Gauges: largest move per scrape, as a fraction. */
  readonly pace: number;
  /** Values are multiples of this: 0.01 for seconds, 4096 for pages of memory. */
  readonly quantum: number;
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}`);

const CPUS = numbered('', 8);
const MODES = ['idle', 'iowait', 'irq', 'nice', 'softirq', 'steal', 'system', 'user'];
const DISKS = ['nvme0n1', 'nvme1n1', 'dm-0', 'dm-1'];
const INTERFACES = ['eth0', 'eth1', 'lo', 'docker0', 'cni0'];
const MOUNTS = ['/', '/boot', '/var/lib/kubelet', '/run'];

function counters(
  names: readonly string[],
  labels: Family['labels'],
  pace: number,
  quantum = 1,
): readonly Family[] {
  return names.map((name) => ({ name, movement: 'counter', labels, start: pace * 86_400, pace, quantum }));
}

function gauges(
  names: readonly string[],
  labels: Family['labels'],
  start: number,
  quantum: number,
): readonly Family[] {
  return names.map((name) => ({ name, movement: 'gauge', labels, start, pace: 0.01, quantum }));
}

function constants(names: readonly string[], labels: Family['labels'], start: number): readonly Family[] {
  return names.map((name) => ({ name, movement: 'constant', labels, start, pace: 0, quantum: 1 }));
}

const MEMORY = [
  ...['Active', 'Active_anon', 'Active_file', 'AnonPages', 'Buffers', 'Cached', 'Committed_AS', 'Dirty'],
  ...['Inactive', 'Inactive_anon', 'Inactive_file', 'KernelStack', 'Mapped', 'MemAvailable', 'MemFree'],
  ...['PageTables', 'SReclaimable', 'SUnreclaim', 'Shmem', 'Slab', 'Writeback'],
].map((name) => `node_memory_${name}_bytes`);

const NETWORK = ['bytes', 'packets'].flatMap((what) => [
  `node_network_receive_${what}_total`,
  `node_network_transmit_${what}_total`,
]);

const NETWORK_FAULTS = ['drop', 'errs', 'fifo', 'compressed'].flatMap((what) => [
  `node_network_receive_${what}_total`,
  `node_network_transmit_${what}_total`,
]);

const NETSTAT = [
  ...['Ip_Forwarding', 'Tcp_ActiveOpens', 'Tcp_PassiveOpens', 'Tcp_InSegs', 'Tcp_OutSegs', 'Tcp_RetransSegs'],
  ...[
    'Udp_InDatagrams',
    'Udp_OutDatagrams',
    'Icmp_InMsgs',
    'Icmp_OutMsgs',
    'IpExt_InOctets',
    'IpExt_OutOctets',
  ],
].map((name) => `node_netstat_${name}`);

/** All families of one target. */
export const NODE_FAMILIES: readonly Family[] = [
  ...counters(['node_cpu_seconds_total'], { cpu: CPUS, mode: MODES }, 0.12, 0.01),
  ...counters(['node_cpu_guest_seconds_total'], { cpu: CPUS, mode: ['nice', 'user'] }, 0, 0.01),
  ...counters(
    ['node_schedstat_running_seconds_total', 'node_schedstat_waiting_seconds_total'],
    { cpu: CPUS },
    0.4,
    1e-6,
  ),
  ...gauges(MEMORY, {}, 2 ** 31, 4096),
  ...constants(
    ['node_memory_MemTotal_bytes', 'node_memory_SwapTotal_bytes', 'node_memory_HugePages_Total'],
    {},
    2 ** 34,
  ),
  ...counters(NETWORK, { device: INTERFACES }, 41_000),
  ...counters(NETWORK_FAULTS, { device: INTERFACES }, 0),
  ...constants(
    ['node_network_up', 'node_network_mtu_bytes', 'node_network_speed_bytes'],
    { device: INTERFACES },
    1500,
  ),
  ...counters(
    ['node_disk_read_bytes_total', 'node_disk_written_bytes_total'],
    { device: DISKS },
    90_000,
    512,
  ),
  ...counters(['node_disk_reads_completed_total', 'node_disk_writes_completed_total'], { device: DISKS }, 12),
  ...counters(
    ['node_disk_io_time_seconds_total', 'node_disk_io_time_weighted_seconds_total'],
    { device: DISKS },
    0.03,
    0.001,
  ),
  ...gauges(['node_disk_io_now'], { device: DISKS }, 2, 1),
  ...gauges(
    ['node_filesystem_avail_bytes', 'node_filesystem_free_bytes'],
    { mountpoint: MOUNTS, fstype: ['ext4'] },
    2 ** 36,
    4096,
  ),
  ...gauges(['node_filesystem_files_free'], { mountpoint: MOUNTS, fstype: ['ext4'] }, 6_000_000, 1),
  ...constants(
    ['node_filesystem_size_bytes', 'node_filesystem_files', 'node_filesystem_readonly'],
    { mountpoint: MOUNTS, fstype: ['ext4'] },
    2 ** 37,
  ),
  ...counters(NETSTAT, {}, 230),
  ...counters(['node_context_switches_total', 'node_intr_total', 'node_forks_total'], {}, 5_200),
  ...counters(
    ['node_vmstat_pgfault', 'node_vmstat_pgpgin', 'node_vmstat_pgpgout', 'node_vmstat_pgmajfault'],
    {},
    900,
  ),
  ...gauges(['node_load1', 'node_load5', 'node_load15'], {}, 1.4, 0.01),
  ...gauges(
    ['node_procs_running', 'node_sockstat_TCP_inuse', 'node_sockstat_TCP_alloc', 'node_filefd_allocated'],
    {},
    300,
    1,
  ),
  ...gauges(['node_hwmon_temp_celsius'], { chip: ['coretemp'], sensor: numbered('temp', 8) }, 52, 0.125),
  ...constants(
    ['node_boot_time_seconds', 'node_filefd_maximum', 'node_nf_conntrack_entries_limit'],
    {},
    1_700_000_000,
  ),
  ...constants(['node_softnet_dropped_total', 'node_softnet_times_squeezed_total'], { cpu: CPUS }, 0),
  ...counters(['node_softnet_processed_total'], { cpu: CPUS }, 700),
  ...constants(['node_scrape_collector_success'], { collector: numbered('collector', 40) }, 1),
  ...gauges(
    ['node_scrape_collector_duration_seconds'],
    { collector: numbered('collector', 40) },
    0.002,
    1e-9,
  ),
];
