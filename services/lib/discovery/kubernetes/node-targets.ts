// Targets of role `node`: the kubelet of each node.
import type { TargetGroup } from '../../runtime/config/discovery-config.ts';
import { joinHostPort, sanitizeLabelName } from '../target-labels.ts';
import { ADDRESS, addObjectLabels, groupOf, type LabelDraft, META } from './meta-labels.ts';
import type { Node } from './objects.ts';

/** Types of addresses, the preferred one first. */
const ADDRESS_TYPES = [
  'InternalIP',
  'InternalDNS',
  'ExternalIP',
  'ExternalDNS',
  'LegacyHostIP',
  'Hostname',
] as const;

/** A node without an address has no targets. */
export function buildNodeGroup(node: Node): TargetGroup {
  const labels: LabelDraft = new Map([[`${META}node_provider_id`, node.providerId]]);
  for (const [type, status] of node.conditions)
    labels.set(`${META}node_condition_${sanitizeLabelName(type)}`, status);
  addObjectLabels(labels, node, 'node');
  const first = new Map<string, string>();
  for (const [type, address] of node.addresses) if (!first.has(type)) first.set(type, address);
  const preferred = ADDRESS_TYPES.find((type) => first.has(type));
  if (preferred === undefined) return groupOf(`node/${node.name}`, labels, []);
  const target: LabelDraft = new Map([
    [ADDRESS, joinHostPort(first.get(preferred)!, node.kubeletPort)],
    ['instance', node.name],
  ]);
  for (const [type, address] of first) target.set(sanitizeLabelName(`${META}node_address_${type}`), address);
  return groupOf(`node/${node.name}`, labels, [target]);
}
