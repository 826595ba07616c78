// What `tidemark doctor` finds out about room for what is sent, and about senders: ingesters whose disk fills, and series that two senders
// bring who are not told apart.
import { type Examined, error, type Finding, type SampledSeries, warning } from './doctor-finding.ts';
import { printBytes } from './moves-table.ts';

/** Of the watermark: with less than this free, an ingester soon refuses writes. */
const WATERMARKS_NEAR = 3;
/** Samples of a series from which its two grids can be told. */
const SAMPLES_MIN = 8;
/** Of the time from one sample of a sender to its next: scrapes of one sender are that regular, two senders rarely scrape exactly in turn. */
const JITTER_SHARE = 0.05;
const NAMED_MAX = 3;

export function inquireIngesterDisks({ examination }: Examined): Finding[] {
  return (examination?.members ?? []).flatMap(({ instance, metrics }) => {
    const bytesOf = (name: string) =>
      metrics.find((metric) => metric.name === `tidemark_ingester_disk_${name}_bytes`)?.value;
    const freeBytes = bytesOf('free');
    const watermark = bytesOf('watermark');
    if (freeBytes === undefined || watermark === undefined || freeBytes >= WATERMARKS_NEAR * watermark)
      return [];
    const disk = `the disk of ingester ${instance} has ${printBytes(freeBytes)} free`;
    const remedy =
      'give it a larger disk, add ingesters, or free space; logs shrink when stores take blocks: see what they say here';
    return freeBytes < watermark
      ? [error(`${disk}, under the watermark of ${printBytes(watermark)}: it refuses writes`, remedy)]
      : [warning(`${disk}; under ${printBytes(watermark)} it refuses writes`, remedy)];
  });
}

export function inquireTwins({ ups }: Examined): Finding[] {
  const twins = (ups?.result ?? []).filter(({ values }) => isOfTwo(values));
  if (twins.length === 0) return [];
  const named = twins.slice(0, NAMED_MAX).map(({ metric }) => nameOf(metric));
  const more = twins.length > NAMED_MAX ? ` and ${twins.length - NAMED_MAX} more` : '';
  return [
    warning(
      `${twins.length} targets are sent by two senders who are not told apart, so their samples alternate: ${named.join(', ')}${more}`,
      'give each Prometheus of a pair an external label of its own, named in --query.replica-labels (prometheus_replica is), and keep it in write_relabel_configs; or let one of them send',
    ),
  ];
}

/**
 * Whether samples lie on two grids: each as far from the one before the last as ever, and from the last one alternately less and more. Two
 * senders that scrape exactly in turn look like one that scrapes twice as often.
 */
export function isOfTwo(values: SampledSeries['values']): boolean {
  if (values.length < SAMPLES_MIN) return false;
  const times = values.map(([seconds]) => seconds);
  const intervals = times.slice(2).map((time, i) => time - times[i]!);
  const interval = intervals.toSorted((a, b) => a - b)[intervals.length >> 1]!;
  const slack = interval * JITTER_SHARE;
  if (intervals.some((each) => Math.abs(each - interval) > slack)) return false;
  const uneven = times.slice(2).filter((time, i) => {
    const [before, after] = [times[i + 1]! - times[i]!, time - times[i + 1]!];
    return Math.abs(before - after) > 2 * slack;
  });
  return uneven.length === intervals.length;
}

function nameOf(metric: Readonly<Record<string, string>>): string {
  const labels = Object.entries(metric).filter(([name]) => name !== '__name__');
  return `{${labels.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}}`;
}
