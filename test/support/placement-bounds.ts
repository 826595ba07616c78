// What placement is measured against: the fewest moves that lead to given loads, by the cheapest flow through a network of slots, zones
// and members, and the share that each member should have. Slow and plain; knows nothing of how placement works.
import type { OwnerMember } from '../../services/lib/placement/assignment.ts';

/** Cheaper than any number of moves: a zone without a copy must get one first. */
const ZONE_FIRST = -1_000_000;

const zoneOf = ({ zone, instance }: OwnerMember): string => (zone === '' ? `instance ${instance}` : zone);

/** Copies at members that were not owners before. */
export function movedBetween(
  before: readonly (readonly string[])[],
  after: readonly (readonly string[])[],
): number {
  return after.reduce(
    (sum, owners, slot) => sum + owners.filter((owner) => !before[slot]!.includes(owner)).length,
    0,
  );
}

export function loadsOf(
  owners: readonly (readonly string[])[],
  members: readonly OwnerMember[],
): Map<string, number> {
  const loads = new Map(members.map(({ instance }) => [instance, 0]));
  for (const instance of owners.flat()) loads.set(instance, loads.get(instance)! + 1);
  return loads;
}

/**
 * Copies of one slot that each member should have, 0 … 1: by weight, but no zone more than it may have with as many zones as can be, nor
 * less than one copy where every zone gets one, and nobody two copies of a slot.
 */
export function fairShares(members: readonly OwnerMember[], copies: number): Map<string, number> {
  const zones = Map.groupBy(members, zoneOf);
  const lo = copies >= zones.size ? 1 : 0;
  const hi = Math.max(1, copies - zones.size + 1);
  const inside = (each: readonly OwnerMember[], level: number): number =>
    sum(each.map((member) => Math.min(1, level * weightOf(member))));
  const inZone = (each: readonly OwnerMember[], level: number): number =>
    Math.min(hi, Math.max(lo, inside(each, level)));
  const all = [...zones.values()];
  const level = levelFor(Math.min(copies, members.length), (at) => sum(all.map((each) => inZone(each, at))));
  const shares = new Map<string, number>();
  for (const each of all) {
    const within = levelFor(inZone(each, level), (at) => inside(each, at));
    for (const member of each) shares.set(member.instance, Math.min(1, within * weightOf(member)));
  }
  return shares;
}

/** Where a function that only grows reaches a value; by bisection. */
function levelFor(value: number, grown: (level: number) => number): number {
  let [low, high] = [0, 1e6];
  for (let round = 0; round < 100; round++) {
    const level = (low + high) / 2;
    if (grown(level) < value) low = level;
    else high = level;
  }
  return high;
}

const weightOf = ({ weight = 1 }: OwnerMember): number => weight;
const sum = (values: readonly number[]): number => values.reduce((total, each) => total + each, 0);

/**
 * The fewest copies that have to move from `before` to any owners with the loads of `after`, in as many zones as there can be. At most
 * those that moved, at least what members have more of than before.
 */
export function fewestMoves(
  before: readonly (readonly string[])[],
  after: readonly (readonly string[])[],
  members: readonly OwnerMember[],
): number {
  const loads = loadsOf(after, members);
  const had = before.flat();
  const grown = [...loads].map(([instance, load]) => load - had.filter((owner) => owner === instance).length);
  const least = sum(grown.map((more) => Math.max(0, more)));
  return movedBetween(before, after) === least ? least : cheapestMoves(before, members, loads);
}

function cheapestMoves(
  before: readonly (readonly string[])[],
  members: readonly OwnerMember[],
  loads: ReadonlyMap<string, number>,
): number {
  const copies = sum([...loads.values()]) / before.length;
  const zones = Map.groupBy(members, zoneOf);
  const network = new Network();
  for (const [slot, owners] of before.entries()) {
    network.connect('source', `${slot}`, copies, 0);
    for (const [zone, each] of zones) {
      network.connect(`${slot}`, `${slot} ${zone}`, 1, ZONE_FIRST);
      network.connect(`${slot}`, `${slot} ${zone}`, Math.max(0, copies - zones.size), 0);
      for (const { instance } of each)
        network.connect(`${slot} ${zone}`, instance, 1, owners.includes(instance) ? 0 : 1);
    }
  }
  for (const { instance } of members) network.connect(instance, 'sink', loads.get(instance)!, 0);
  const { flow, cost } = network.cheapestFlow('source', 'sink');
  if (flow !== copies * before.length) throw new Error(`only ${flow} copies have a place`);
  return cost - before.length * Math.min(copies, zones.size) * ZONE_FIRST;
}

/** Edges lie in pairs, an edge and its reverse. */
class Network {
  readonly #nodes = new Map<string, number>();
  readonly #edgesOf: number[][] = [];
  readonly #to: number[] = [];
  readonly #room: number[] = [];
  readonly #cost: number[] = [];

  connect(from: string, to: string, room: number, cost: number): void {
    const ends = [this.#nodeOf(from), this.#nodeOf(to)];
    for (const [i, node] of ends.entries()) {
      this.#edgesOf[node]!.push(this.#to.length);
      this.#to.push(ends[1 - i]!);
      this.#room.push(i === 0 ? room : 0);
      this.#cost.push(i === 0 ? cost : -cost);
    }
  }

  /** The most that can flow, at the least cost: along the cheapest path as long as there is one. */
  cheapestFlow(source: string, sink: string): { readonly flow: number; readonly cost: number } {
    const [from, to] = [this.#nodeOf(source), this.#nodeOf(sink)];
    let [flow, cost] = [0, 0];
    for (;;) {
      const path = this.#cheapestPath(from, to);
      if (path === undefined) return { flow, cost };
      for (const edge of path) {
        this.#room[edge]!--;
        this.#room[edge ^ 1]!++;
        cost += this.#cost[edge]!;
      }
      flow++;
    }
  }

  #cheapestPath(from: number, to: number): number[] | undefined {
    const costs = new Float64Array(this.#edgesOf.length).fill(Number.POSITIVE_INFINITY);
    const via = new Int32Array(this.#edgesOf.length).fill(-1);
    costs[from] = 0;
    const queue = [from];
    for (const node of queue) {
      for (const edge of this.#edgesOf[node]!) {
        const next = this.#to[edge]!;
        const cost = costs[node]! + this.#cost[edge]!;
        if (this.#room[edge] === 0 || cost >= costs[next]!) continue;
        costs[next] = cost;
        via[next] = edge;
        queue.push(next);
      }
    }
    if (via[to]! < 0) return undefined;
    const path: number[] = [];
    for (let node = to; node !== from; node = this.#to[path.at(-1)! ^ 1]!) path.push(via[node]!);
    return path;
  }

  #nodeOf(name: string): number {
    let node = this.#nodes.get(name);
    if (node === undefined) {
      node = this.#edgesOf.length;
      this.#nodes.set(name, node);
      this.#edgesOf.push([]);
    }
    return node;
  }
}
