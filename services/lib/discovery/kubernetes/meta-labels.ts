// Names and values of the labels that every role makes in the same way: `__meta_kubernetes_<object>_label_<name>` and its kin.
import { Labels } from '../../model/labels.ts';
import type { KubernetesAttach, TargetGroup } from '../../runtime/config/discovery-config.ts';
import { sanitizeLabelName } from '../target-labels.ts';
import type { Node, ObjectMeta } from './objects.ts';
import type { ResourceName } from './resources.ts';

export const META = '__meta_kubernetes_';
export const ADDRESS = '__address__';

/** Labels under construction: the last value of a name stays. */
export type LabelDraft = Map<string, string>;

/** What a group is built from beside its own object. */
export interface BuildContext {
  readonly attach: KubernetesAttach;
  /** Another object; the group is built again when it changes, comes or goes. */
  readonly lookup: (resource: ResourceName, key: string) => ObjectMeta | undefined;
}

/** Name, labels and annotations of the object that the group is made of. */
export function addObjectLabels(draft: LabelDraft, meta: ObjectMeta, object: string): void {
  draft.set(`${META}${object}_name`, meta.name);
  addLabelsAndAnnotations(draft, meta, object);
}

function addLabelsAndAnnotations(draft: LabelDraft, meta: ObjectMeta, object: string): void {
  for (const [name, value] of meta.labels) {
    const safe = sanitizeLabelName(name);
    draft.set(`${META}${object}_label_${safe}`, value);
    draft.set(`${META}${object}_labelpresent_${safe}`, 'true');
  }
  for (const [name, value] of meta.annotations) {
    const safe = sanitizeLabelName(name);
    draft.set(`${META}${object}_annotation_${safe}`, value);
    draft.set(`${META}${object}_annotationpresent_${safe}`, 'true');
  }
}

/** Labels and annotations of the namespace, with `attach_metadata.namespace`. */
export function addNamespaceLabels(draft: LabelDraft, namespace: string, context: BuildContext): void {
  if (!context.attach.namespace) return;
  const found = context.lookup('namespaces', namespace);
  if (found !== undefined) addLabelsAndAnnotations(draft, found, 'namespace');
}

/** Name, labels and annotations of a node, with `attach_metadata.node`; false when there is no such node. */
export function addNodeLabels(draft: LabelDraft, name: string, context: BuildContext): boolean {
  const node = context.lookup('nodes', name) as Node | undefined;
  if (node !== undefined) addObjectLabels(draft, node, 'node');
  return node !== undefined;
}

/** A group of targets, each of which is a draft with its address. */
export function groupOf(source: string, labels: LabelDraft, targets: readonly LabelDraft[]): TargetGroup {
  return {
    source,
    labels: Labels.from(labels),
    targets: targets.map((target) => target.get(ADDRESS) ?? ''),
    targetLabels: targets.map((target) => Labels.from(target)),
  };
}
