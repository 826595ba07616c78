// What goes wrong in a run: faults by name, each with its end, chosen and timed by the seed. None of them alone or together with the
// others may cost an acknowledged sample; those that destroy data for good (bit rot) befall one host of a run.
import type { Role, SimCluster, SimNode } from './sim-cluster.ts';
import { SIM_ROOT, type World } from './world.ts';

/** A fault begins when it is called; the answer ends it. */
type Fault = (cluster: SimCluster, world: World) => () => void;

/** So much longer than other faults an evaluator is paused. */
const EVALUATOR_PAUSE_MS = 6_000;

/** And a store. */
const STORE_PAUSE_MS = 12_000;

const nothing = (): void => undefined;

const anyNode = (cluster: SimCluster, ...roles: readonly Role[]): SimNode => {
  const nodes = cluster.nodes.filter(({ role }) => roles.length === 0 || roles.includes(role));
  return nodes[cluster.world.between(0, nodes.length - 1)]!;
};

/** While NATS does not have the placement, ingesters keep it: they are spared then. */
function crash(cluster: SimCluster, doomed: readonly SimNode[], isPowerCut: boolean): () => void {
  for (const node of doomed) {
    cluster.kill(node);
    if (isPowerCut) node.host.disk.cutPower(cluster.world.chance(0.3) ? undefined : cluster.world.random);
  }
  return () => {
    // One that another fault's end had started may have left since, and is thrown away.
    for (const node of doomed) if (cluster.nodes.includes(node)) cluster.start(node);
  };
}

function pause(cluster: SimCluster, node: SimNode): () => void {
  cluster.world.pause(node.host);
  return () => cluster.world.resume(node.host);
}

function partition(cluster: SimCluster, node: SimNode): () => void {
  const { network, world } = cluster;
  const others = cluster.nodes.filter((other) => other !== node && world.chance(0.7));
  const [isIn, isOut] = world.chance(0.7) ? [true, true] : world.chance(0.5) ? [true, false] : [false, true];
  for (const other of others) {
    if (isIn) network.cut(other.host, node.host);
    if (isOut) network.cut(node.host, other.host);
  }
  if (world.chance(0.5)) cluster.nats.cutOff(node.host.name);
  return () => {
    network.heal();
    cluster.nats.heal();
  };
}

function zonesOf(cluster: SimCluster): readonly SimNode[] {
  const { zone } = anyNode(cluster, 'ingester').host;
  return cluster.nodes.filter(({ host }) => host.zone === zone);
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  kill: (cluster) => crash(cluster, [anyNode(cluster)], false),
  'kill ingester': (cluster) => crash(cluster, [anyNode(cluster, 'ingester')], false),
  'kill all': (cluster) => crash(cluster, cluster.nodes, false),
  'power of one': (cluster) => crash(cluster, [anyNode(cluster, 'ingester', 'store')], true),
  'power of a zone': (cluster) => crash(cluster, zonesOf(cluster), true),
  'power of all': (cluster) => crash(cluster, cluster.nodes, true),
  pause: (cluster) => pause(cluster, anyNode(cluster)),
  'pause ingester': (cluster) => pause(cluster, anyNode(cluster, 'ingester')),
  // Mostly for longer than a lease lasts.
  'pause evaluator': (cluster, world) => {
    const end = pause(cluster, anyNode(cluster, 'alert-evaluator'));
    return () => {
      world.schedule(EVALUATOR_PAUSE_MS, end, undefined);
    };
  },
  'pause zone': (cluster) => {
    const ends = zonesOf(cluster).map((node) => pause(cluster, node));
    return () => {
      for (const end of ends) end();
    };
  },
  partition: (cluster) => partition(cluster, anyNode(cluster)),
  'partition ingester': (cluster) => partition(cluster, anyNode(cluster, 'ingester')),
  'connections break': (cluster, world) => {
    cluster.network.breakSome(0.3 + 0.7 * world.random());
    return nothing;
  },
  'lossy network': ({ network }) => {
    network.weather.lossShare = 0.2;
    return () => {
      network.weather.lossShare = 0;
    };
  },
  'slow network': ({ network }) => {
    network.weather.extraMs = 200;
    return () => {
      network.weather.extraMs = 0;
    };
  },
  'NATS cut off': (cluster) => {
    cluster.nats.cutOff(anyNode(cluster).host.name);
    return () => cluster.nats.heal();
  },
  'NATS dead': ({ nats }) => {
    nats.kill();
    return () => nats.restart(false);
  },
  'NATS dead and wiped': (cluster) => {
    const { nats } = cluster;
    nats.kill();
    return () => nats.restart(true);
  },
  'slow disk': (cluster) => {
    const { disk } = anyNode(cluster, 'ingester', 'store').host;
    disk.syncMs = 400;
    return () => {
      disk.syncMs = 1;
    };
  },
  'full disk': (cluster, world) => {
    const { disk } = anyNode(cluster, 'ingester', 'store').host;
    disk.reservedBytes = Math.max(1, disk.totalBytes - disk.usedBytes - world.between(0, 2 << 20));
    return () => {
      disk.reservedBytes = 0;
    };
  },
  'failing sync': (cluster, world) => {
    const { disk } = anyNode(cluster, 'ingester', 'store').host;
    disk.failingSync = world.between(1, 5);
    return () => {
      disk.failingSync = 0;
    };
  },
  'clock step': (cluster, world) => {
    const { host } = anyNode(cluster);
    host.skewMs = [3_600_000, -3_600_000, -7_200_000, 60_000, -500][world.between(0, 4)]!;
    return () => {
      host.skewMs = 0;
    };
  },
  'seal all': (cluster) => {
    cluster.seal().catch(nothing);
    return nothing;
  },
  'bit rot in a block': (cluster, world) => {
    // Always the same store: there are two copies of a block.
    const { host } = cluster.of('store')[0]!;
    const files = host.disk
      .files()
      .filter(([file]) => file.startsWith(`${SIM_ROOT}${host.name}/data/blocks/`));
    if (files.length > 0) files[world.between(0, files.length - 1)]![1].rot(world.random);
    return nothing;
  },
};

/** Of runs with object storage. */
export const BUCKET_FAULTS: Readonly<Record<string, Fault>> = {
  // Mostly for longer than it takes another one to have its turn to remove.
  'pause store': (cluster, world) => {
    const end = pause(cluster, anyNode(cluster, 'store'));
    return () => {
      world.schedule(STORE_PAUSE_MS, end, undefined);
    };
  },
  'bucket away': ({ bucket }) => {
    bucket!.weather.isDown = true;
    return () => {
      bucket!.weather.isDown = false;
    };
  },
  'bucket cut off': (cluster) => {
    cluster.bucket!.cutOff(anyNode(cluster, 'store').host.name);
    return () => cluster.bucket!.heal();
  },
  'bucket fails': ({ bucket }, world) => {
    bucket!.weather.failShare = 0.1 + 0.5 * world.random();
    return () => {
      bucket!.weather.failShare = 0;
    };
  },
  'slow bucket': ({ bucket }) => {
    bucket!.weather.extraMs = 800;
    return () => {
      bucket!.weather.extraMs = 0;
    };
  },
  'damaged uploads': ({ bucket }) => {
    bucket!.weather.damageShare = 0.5;
    return () => {
      bucket!.weather.damageShare = 0;
    };
  },
};

/** Rarer than the others: they are slow to get over, or happen once. */
const RARE: ReadonlySet<string> = new Set([
  'kill all',
  'power of all',
  'power of a zone',
  'bit rot in a block',
]);

export interface NemesisOptions {
  /** Milliseconds of virtual time in which faults begin. */
  readonly durationMs: number;
  /** Between two beginnings, on average. */
  readonly intervalMs: number;
  /** Only these; default: all. */
  readonly faults?: readonly string[];
}

/** Lets faults happen for a while, then ends all that are left. Counts them by name. */
export async function runNemesis(
  cluster: SimCluster,
  options: NemesisOptions,
  counts: Map<string, number>,
  log: (line: string) => void,
): Promise<void> {
  const { world } = cluster;
  const all = cluster.bucket === undefined ? FAULTS : { ...FAULTS, ...BUCKET_FAULTS };
  const names = (options.faults ?? Object.keys(all)).filter((name) => name in all);
  // Only faults of a bucket were asked for, and this run has none.
  if (names.length === 0) {
    await world.sleep(options.durationMs);
    return;
  }
  const open = new Set<() => void>();
  const endMs = world.nowMs + options.durationMs;
  while (world.nowMs < endMs) {
    await world.sleep(world.random() * 2 * options.intervalMs);
    const name = names[world.between(0, names.length - 1)]!;
    if (RARE.has(name) && world.chance(0.6)) continue;
    log(name);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    const end = all[name]!(cluster, world);
    const finish = (): void => {
      if (!open.delete(finish)) return;
      log(`${name} is over`);
      end();
    };
    open.add(finish);
    world.schedule(world.between(300, 12_000), finish, undefined);
  }
  for (const finish of [...open]) finish();
}
