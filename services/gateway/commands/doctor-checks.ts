// What `tidemark doctor` looks for. Each check is a function of what a gateway answers about its cluster, and names what is wrong, with
// the values, and the remedy.

import type { StoreMoves } from '../api/store-moves-api.ts';
import {
  type Examined,
  error,
  type Finding,
  parseSeconds,
  SKEW_SECONDS_MAX,
  warning,
} from './doctor-finding.ts';
import { INQUIRIES } from './doctor-inquiries.ts';
import { printBytes } from './moves-table.ts';
import type { MembersAnswer } from './status-table.ts';

/** Free part of a disk below which compaction and copies soon find no room. */
const DISK_FREE_SHARE_MIN = 0.1;
/** A full scrub takes a week by default; one that is older than this does not happen. */
const SCRUB_AGE_DAYS_MAX = 30;
/** Blocks span so long: samples leave in whole blocks. */
const BLOCK_SECONDS = 7200;
const DAY_MS = 86_400_000;

type Check = (examined: Examined, nowMs: number) => Finding[];

type MemberRow = MembersAnswer['members'][number];
const of = ({ members }: MembersAnswer, service: string): MemberRow[] =>
  members.filter((member) => member.service === service && member.state !== 'absent');

function checkControlPlane({ members }: Examined): Finding[] {
  if (members.controlPlane === 'unreachable') {
    return [
      error(
        'the gateway cannot reach NATS: scaling, leases and configuration changes wait',
        'start NATS, or correct --nats.url of this gateway',
      ),
    ];
  }
  return [];
}

function checkPlacement({ members }: Examined): Finding[] {
  if (members.controlPlane === 'embedded' || members.epoch > 0) return [];
  return [
    error(
      'no placement is known: nobody knows which ingester owns what, and writes are refused',
      'start at least one ingester with the same --cluster.name and --nats.url; the first one that is ready makes the placement',
    ),
  ];
}

function checkAbsent({ members }: Examined): Finding[] {
  return members.members
    .filter(({ state }) => state === 'absent')
    .map(({ service, instance }) =>
      error(
        `${service} ${instance} owns data and is not there`,
        service === 'store'
          ? 'start it again; its blocks are rebuilt on the others after --store.rebuild-delay, or call POST /api/v1/admin/cluster/forget'
          : 'start it again; after --cluster.absence others take its partitions',
      ),
    );
}

function checkReplicas({ members }: Examined): Finding[] {
  if (members.controlPlane === 'embedded' || members.epoch === 0) return [];
  const findings: Finding[] = [];
  const ingesters = of(members, 'ingester').length;
  if (ingesters < members.replicationFactor) {
    findings.push(
      error(
        `${ingesters} ingesters for ${members.replicationFactor} copies of each sample`,
        `start ${members.replicationFactor - ingesters} more, or lower --cluster.replication-factor of all ingesters`,
      ),
    );
  }
  const stores = of(members, 'store').length;
  if (stores < members.storeReplicationFactor) {
    findings.push(
      error(
        `${stores} stores for ${members.storeReplicationFactor} copies of each block: blocks cannot be sealed, and logs grow`,
        `start ${members.storeReplicationFactor - stores} more, or lower --store.replication-factor of all ingesters`,
      ),
    );
  }
  if (members.replicationFactor < 3 && ingesters >= 3)
    findings.push(
      warning(
        `each sample has ${members.replicationFactor} copies: writes stop, or samples are lost, with one ingester`,
        'set --cluster.replication-factor=3 on all ingesters',
      ),
    );
  return findings;
}

function checkZones({ members }: Examined): Finding[] {
  const findings: Finding[] = [];
  const sets = [
    ['ingester', members.replicationFactor],
    ['store', members.storeReplicationFactor],
  ] as const;
  for (const [service, copies] of sets) {
    const rows = of(members, service);
    const zones = new Set(rows.map(({ zone }) => zone).filter((zone) => zone !== ''));
    const nameless = rows.filter(({ zone }) => zone === '').map(({ instance }) => instance);
    if (zones.size > 0 && nameless.length > 0) {
      findings.push(
        warning(
          `${service}s ${nameless.join(', ')} have no zone, others have one: each counts as a zone of its own`,
          'set --cluster.zone on all of them, or on none',
        ),
      );
    } else if (zones.size > 1 && zones.size < copies && rows.length >= copies) {
      findings.push(
        warning(
          `${service}s are in ${zones.size} zones (${[...zones].sort().join(', ')}), and there are ${copies} copies: one zone has several of them`,
          `spread ${service}s over ${copies} zones`,
        ),
      );
    }
  }
  return findings;
}

function checkVersions({ members }: Examined): Finding[] {
  const versions = new Set(members.members.map(({ version }) => version).filter((version) => version !== ''));
  if (versions.size <= 1) return [];
  const described = [...versions].sort().map((version) => {
    const count = members.members.filter((member) => member.version === version).length;
    return `${version} (${count})`;
  });
  return [
    warning(
      `members are of several versions: ${described.join(', ')}`,
      'finish the upgrade: restart those of the older version',
    ),
  ];
}

function checkNats({ members, flags }: Examined): Finding[] {
  if (members.controlPlane === 'embedded') return [];
  const servers = (flags['nats.url'] ?? '').split(',').filter((url) => url !== '');
  const replicas = Number(flags['nats.replicas'] ?? '1');
  if (servers.length >= 3 && replicas < 3) {
    return [
      warning(
        `NATS has ${servers.length} servers and keeps ${replicas} copy of the control data: with that server it is gone until members say it again`,
        'set --nats.replicas=3 on all processes',
      ),
    ];
  }
  if (servers.length > 1 || replicas > 1) return [];
  return [
    warning(
      'NATS is one server: while it is down nothing scales and no lease moves, though writes and queries go on',
      'run three NATS servers, name them in --nats.url and set --nats.replicas=3',
    ),
  ];
}

function checkClocks({ moves }: Examined): Finding[] {
  return moves.stores
    .filter(({ clockAheadSeconds }) => Math.abs(clockAheadSeconds ?? 0) > SKEW_SECONDS_MAX)
    .map(({ instance, clockAheadSeconds }) =>
      error(
        `the clock of store ${instance} is ${Math.abs(clockAheadSeconds!).toFixed(1)} s ${clockAheadSeconds! > 0 ? 'ahead of' : 'behind'} this gateway's`,
        'let NTP or chrony keep the clocks of all machines',
      ),
    );
}

function checkDisks({ moves }: Examined): Finding[] {
  return moves.stores
    .filter(
      ({ diskTotalBytes, diskFreeBytes }) =>
        diskTotalBytes > 0 && diskFreeBytes < DISK_FREE_SHARE_MIN * diskTotalBytes,
    )
    .map(({ instance, diskFreeBytes, diskTotalBytes }) =>
      error(
        `the disk of store ${instance} has ${printBytes(diskFreeBytes)} of ${printBytes(diskTotalBytes)} free`,
        'add disk or stores, lower --storage.tsdb.retention.time, or set --storage.tsdb.retention.size',
      ),
    );
}

function checkBlocks({ moves }: Examined, nowMs: number): Finding[] {
  return moves.stores.flatMap((store) => blockFindings(store, nowMs));
}

function blockFindings(store: StoreMoves, nowMs: number): Finding[] {
  const { instance, state, obstacle, quarantinedBlocks, missingBlocks, scrubbedSince, bucket } = store;
  const findings: Finding[] = [];
  if (state === 'silent')
    findings.push(
      error(`store ${instance} is a member and does not answer: ${obstacle}`, 'look at its log; restart it'),
    );
  if (quarantinedBlocks > 0) {
    findings.push(
      error(
        `store ${instance} has ${quarantinedBlocks} corrupt blocks that no other store has replaced yet`,
        'see that all stores are there; what no store has whole is in blocks-quarantine, and a backup is the way back',
      ),
    );
  }
  if (missingBlocks > 0 && obstacle !== '')
    findings.push(
      warning(
        `store ${instance} lacks ${missingBlocks} blocks and cannot copy them: ${obstacle}`,
        'remove the obstacle; it is tried again',
      ),
    );
  if (bucket !== null && bucket.obstacle !== '') {
    const what = `store ${instance} cannot use object storage: ${bucket.obstacle}`;
    findings.push(
      bucket.evictedBlocks > 0
        ? error(
            `${what}; ${bucket.evictedBlocks} blocks are there only`,
            'remove the obstacle; answers over these blocks say meanwhile that they lack what is not cached',
          )
        : warning(
            what,
            'remove the obstacle; blocks stay on the stores meanwhile, and are brought there afterwards',
          ),
    );
  }
  const checkedMs = scrubbedSince === null ? Number.NaN : Date.parse(scrubbedSince);
  if (nowMs - checkedMs > SCRUB_AGE_DAYS_MAX * DAY_MS) {
    findings.push(
      warning(
        `store ${instance} has blocks that were last checked on ${scrubbedSince}`,
        'give --store.scrub-period a time that its disk can keep up with',
      ),
    );
  }
  return findings;
}

function checkRetention({ flags }: Examined): Finding[] {
  const seconds = parseSeconds(flags['storage.tsdb.retention.time']);
  if (seconds === undefined || seconds === 0 || seconds >= 2 * BLOCK_SECONDS) return [];
  return [
    warning(
      `samples are kept for ${flags['storage.tsdb.retention.time']}, and blocks span two hours: they are deleted as soon as they are made`,
      'set --storage.tsdb.retention.time to four hours or more, the same on all services',
    ),
  ];
}

function checkWindow({ flags }: Examined): Finding[] {
  const window = parseSeconds(flags['ingest.out-of-order-window']);
  const retention = parseSeconds(flags['storage.tsdb.retention.time']);
  if (window === undefined || retention === undefined || retention === 0 || window <= retention) return [];
  return [
    warning(
      `samples up to ${flags['ingest.out-of-order-window']} old are taken, and kept for ${flags['storage.tsdb.retention.time']}: the oldest are deleted at once`,
      'lower --ingest.out-of-order-window, or raise --storage.tsdb.retention.time',
    ),
  ];
}

const CHECKS: readonly Check[] = [
  ...[checkControlPlane, checkPlacement, checkAbsent, checkReplicas, checkZones, checkVersions, checkNats],
  ...[checkClocks, checkDisks, checkBlocks, checkRetention, checkWindow],
];

/** Errors first. */
export function diagnose(examined: Examined, nowMs: number): Finding[] {
  const findings = [...CHECKS, ...INQUIRIES].flatMap((check) => check(examined, nowMs));
  return [
    ...findings.filter(({ severity }) => severity === 'error'),
    ...findings.filter(({ severity }) => severity === 'warning'),
  ];
}
