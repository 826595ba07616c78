// Answers for /api/v1/targets/metadata: which target describes which metric how. Families are told once, targets refer to them.
import type { Labels } from '../../lib/model/labels.ts';
import { compileMatcher } from '../../lib/model/matcher.ts';
import type {
  MetricMetadata,
  TargetMetadataRequest,
  TargetMetadataResponse,
} from '../../lib/wire/contracts.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { ScrapeLoop } from '../scrape-loop.ts';

/** @throws AppError `bad_data` when a matcher is none. */
export function listTargetMetadata(
  request: TargetMetadataRequest,
  loops: Iterable<ScrapeLoop>,
): TargetMetadataResponse {
  const isWanted = targetFilter(request);
  const response: TargetMetadataResponse = { families: [], targets: [] };
  const positions = new Map<MetricMetadata, number>();
  const positionOf = (family: MetricMetadata): number => {
    let position = positions.get(family);
    if (position === undefined) {
      position = response.families.push({ ...family, type: family.type || 'unknown' }) - 1;
      positions.set(family, position);
    }
    return position;
  };
  let left = request.limit === 0 ? Number.POSITIVE_INFINITY : request.limit;
  for (const { target, families } of loops) {
    if (left === 0) break;
    if (!isWanted(target.labels)) continue;
    const named =
      request.metric === '' ? families : families.filter(({ metric }) => metric === request.metric);
    const taken = named.slice(0, left);
    left -= taken.length;
    if (taken.length === 0) continue;
    const labels = Object.fromEntries(target.labels.entries());
    response.targets.push({ labels, families: taken.map(positionOf) });
  }
  return response;
}

function targetFilter({ matchers }: TargetMetadataRequest): (labels: Labels) => boolean {
  const conditions = fromWireMatchers(matchers).map((matcher) => ({
    name: matcher.name,
    holds: compileMatcher(matcher),
  }));
  return (labels) => conditions.every(({ name, holds }) => holds(labels.get(name) ?? ''));
}
