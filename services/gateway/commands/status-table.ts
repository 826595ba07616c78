// The members of a cluster as a table of text.

/** `data` of /api/v1/cluster/members. */
export interface MembersAnswer {
  readonly controlPlane: string;
  /** The NATS server; absent where there is none, or it was not reached yet. */
  readonly controlServer?: { readonly version: string; readonly storage: string; readonly replicas: number };
  readonly epoch: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly members: readonly {
    readonly service: string;
    readonly instance: string;
    readonly zone: string;
    readonly version: string;
    readonly state: string;
    readonly grpcAddress: string;
    readonly httpAddress: string;
    /** Null for one that is absent. */
    readonly heartbeatAgeSeconds: number | null;
    readonly partitionsOwned: number;
    /** Of an ingester with others beside it. */
    readonly replica?: {
      readonly partitions: number;
      readonly complete: number;
      readonly recovering: boolean;
      readonly leaving: boolean;
      readonly lackingWrites: number;
      readonly progress: number;
      readonly remainingSeconds: number;
    };
  }[];
}

const HEADINGS = [
  'SERVICE',
  'INSTANCE',
  'ZONE',
  'STATE',
  'PARTITIONS',
  'REPLICA',
  'HEARTBEAT',
  'VERSION',
  'GRPC',
  'HTTP',
];

/** A line for the cluster, an empty one, then a line per member with aligned columns. */
export function printMembers(answer: MembersAnswer): string {
  if (answer.controlPlane === 'embedded') return 'one process with everything in it, no other members\n';
  const { controlPlane, epoch, partitions, replicationFactor } = answer;
  const head = `control plane ${controlPlane}, placement epoch ${epoch}, ${partitions} partitions, replication factor ${replicationFactor}`;
  const rows = answer.members.map((member) => [
    member.service,
    member.instance,
    member.zone || '-',
    member.state,
    member.service === 'ingester' ? String(member.partitionsOwned) : '-',
    describeReplica(member.replica),
    member.heartbeatAgeSeconds === null ? '-' : `${member.heartbeatAgeSeconds.toFixed(1)}s`,
    member.version || '-',
    member.grpcAddress || '-',
    member.httpAddress || '-',
  ]);
  return `${head}\n\n${alignColumns([HEADINGS, ...rows])}`;
}

/** `complete`, or what it lacks and how long that will take. */
function describeReplica(replica: MembersAnswer['members'][number]['replica']): string {
  if (replica === undefined) return '-';
  const { partitions, complete, recovering, leaving, lackingWrites, progress, remainingSeconds } = replica;
  const states = [...(leaving ? ['leaving'] : []), ...(recovering ? ['recovering'] : [])];
  if (complete < partitions) states.push(`${complete}/${partitions} complete`);
  if (lackingWrites > 0 && progress < 1) {
    states.push(`${Math.floor(progress * 100)} %, ${Math.ceil(remainingSeconds)}s left`);
  }
  return states.length === 0 ? 'complete' : states.join(', ');
}

/** Lines of cells, each column as wide as its widest cell. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  '));
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}
