// Targets of role `ingress`: one per rule and path, for blackbox monitoring of what the ingress serves.
import type { TargetGroup } from '../../runtime/config/discovery-config.ts';
import {
  ADDRESS,
  addNamespaceLabels,
  addObjectLabels,
  type BuildContext,
  groupOf,
  type LabelDraft,
  META,
} from './meta-labels.ts';
import type { Ingress } from './objects.ts';
import { objectKey } from './resources.ts';

export function buildIngressGroup(ingress: Ingress, context: BuildContext): TargetGroup {
  const labels: LabelDraft = new Map([[`${META}namespace`, ingress.namespace]]);
  if (ingress.className !== undefined) labels.set(`${META}ingress_class_name`, ingress.className);
  addObjectLabels(labels, ingress, 'ingress');
  addNamespaceLabels(labels, ingress.namespace, context);
  const targets: LabelDraft[] = [];
  for (const { host, paths } of ingress.rules) {
    const scheme = ingress.tlsHosts.some((pattern) => coversHost(pattern, host)) ? 'https' : 'http';
    for (const path of paths ?? ['/']) {
      const target: LabelDraft = new Map([[ADDRESS, host]]);
      target.set(`${META}ingress_scheme`, scheme);
      target.set(`${META}ingress_host`, host);
      target.set(`${META}ingress_path`, path === '' ? '/' : path);
      targets.push(target);
    }
  }
  return groupOf(`ingress/${objectKey(ingress)}`, labels, targets);
}

/** The same name, or `*.` before all of it but its first part. */
function coversHost(pattern: string, host: string): boolean {
  if (pattern === host) return true;
  const [star, ...rest] = pattern.split('.');
  const [, ...tail] = host.split('.');
  return star === '*' && rest.join('.') === tail.join('.') && rest.length === tail.length;
}
