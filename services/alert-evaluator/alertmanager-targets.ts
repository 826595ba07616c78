// From discovered addresses to URLs that alerts are posted to: the labels of each, relabelled.
import { Labels } from '../lib/model/labels.ts';
import { compileRelabeler } from '../lib/relabel/relabel.ts';
import type { TargetGroup } from '../lib/runtime/config/discovery-config.ts';
import type { AlertmanagerConfig } from '../lib/runtime/config/prometheus-config.ts';

export interface AlertmanagerTargets {
  /** URLs, each once. */
  readonly active: readonly URL[];
  /** URLs that relabelling dropped. */
  readonly dropped: readonly string[];
}

const ADDRESS = '__address__';
const SCHEME = '__scheme__';
const PATH = '__alerts_path__';

/** The Alertmanagers of one section of the configuration. Addresses that make no URL are left out. */
export function alertmanagerTargets(
  config: AlertmanagerConfig,
  groups: readonly TargetGroup[],
): AlertmanagerTargets {
  const relabel = compileRelabeler(config.relabelConfigs);
  const active = new Map<string, URL>();
  const dropped = new Set<string>();
  for (const group of groups) {
    for (const [i, address] of group.targets.entries()) {
      const before = targetLabels(config, address, [group.labels, group.targetLabels?.[i]]);
      const after = relabel(before);
      const url = urlOf(after ?? before);
      if (url === undefined) continue;
      if (after === undefined) dropped.add(url.href);
      else active.set(url.href, url);
    }
  }
  return { active: [...active.values()], dropped: [...dropped] };
}

function targetLabels(
  config: AlertmanagerConfig,
  address: string,
  own: readonly (Labels | undefined)[],
): Labels {
  const entries = new Map<string, string>([
    [ADDRESS, address],
    [SCHEME, config.scheme],
    [PATH, joinPath(config.pathPrefix, '/api/v2/alerts')],
  ]);
  for (const labels of own)
    for (const [name, value] of labels?.entries() ?? []) if (name !== ADDRESS) entries.set(name, value);
  return Labels.from(entries);
}

function joinPath(prefix: string, path: string): string {
  return `/${prefix}/${path}`.replace(/\/{2,}/g, '/');
}

function urlOf(labels: Labels): URL | undefined {
  const address = labels.get(ADDRESS);
  const scheme = labels.get(SCHEME);
  if (address === '' || (scheme !== 'http' && scheme !== 'https')) return undefined;
  const text = `${scheme}://${address}${labels.get(PATH)}`;
  return URL.canParse(text) ? new URL(text) : undefined;
}
