// Target groups between scrapers: what changed, in messages of bounded size.
import { ByteWriter } from '../../lib/core/bytes.ts';
import { decodeLabels, encodeLabels, type Labels } from '../../lib/model/labels.ts';
import type { TargetGroup } from '../../lib/runtime/config/discovery-config.ts';
import type { DiscoveredGroup, DiscoverUpdate } from '../../lib/wire/contracts.ts';

/** A message is closed once it holds so much: far below what a call may carry, even with one very large group more. */
const MESSAGE_BYTES = 1024 * 1024;

/** What makes `before` into `now`, groups by their source; the last message says so, and comes without a change too. */
export function* updatesOf(
  before: ReadonlyMap<string, TargetGroup>,
  now: ReadonlyMap<string, TargetGroup>,
  problems: readonly string[],
): Generator<DiscoverUpdate, void, undefined> {
  let groups: DiscoveredGroup[] = [];
  let bytes = 0;
  for (const [source, group] of now) {
    if (before.get(source) === group) continue;
    const wire = toWireGroup(group);
    groups.push(wire);
    bytes += sizeOf(wire);
    if (bytes < MESSAGE_BYTES) continue;
    yield { groups, gone: [], problems: [], isLast: false };
    groups = [];
    bytes = 0;
  }
  const gone = [...before.keys()].filter((source) => !now.has(source));
  yield { groups, gone, problems: [...problems], isLast: true };
}

function toWireGroup(group: TargetGroup): DiscoveredGroup {
  return {
    source: group.source,
    labels: bytesOf(group.labels),
    targets: group.targets.map((address, i) => {
      const own = group.targetLabels?.[i];
      return { address, labels: own === undefined ? new Uint8Array() : bytesOf(own) };
    }),
  };
}

function bytesOf(labels: Labels): Uint8Array {
  const writer = new ByteWriter(256);
  encodeLabels(labels, writer);
  return writer.bytes.slice(0, writer.length);
}

function sizeOf(group: DiscoveredGroup): number {
  let bytes = group.source.length + group.labels.length;
  for (const { address, labels } of group.targets) bytes += address.length + labels.length + 8;
  return bytes;
}

/** @throws AppError when label bytes are damaged. */
export function fromWireGroup({ source, labels, targets }: DiscoveredGroup): TargetGroup {
  return {
    source,
    labels: decodeLabels(labels, 0, labels.length),
    targets: targets.map(({ address }) => address),
    targetLabels: targets.map((target) => decodeLabels(target.labels, 0, target.labels.length)),
  };
}
