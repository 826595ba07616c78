// Targets of role `pod`, and the labels of a pod wherever one stands behind a target.
import type { TargetGroup } from '../../runtime/config/discovery-config.ts';
import { joinHostPort } from '../target-labels.ts';
import {
  ADDRESS,
  addNamespaceLabels,
  addNodeLabels,
  addObjectLabels,
  type BuildContext,
  groupOf,
  type LabelDraft,
  META,
} from './meta-labels.ts';
import type { Container, ContainerPort, Pod } from './objects.ts';
import { objectKey } from './resources.ts';

/** A target per container and port; per container where it names none. A pod without an address has no targets. */
export function buildPodGroup(pod: Pod, context: BuildContext): TargetGroup {
  const source = `pod/${objectKey(pod)}`;
  const labels: LabelDraft = new Map();
  const nothing = groupOf(source, labels, []);
  if (pod.ip === '') return nothing;
  addPodLabels(labels, pod, context);
  labels.set(`${META}namespace`, pod.namespace);
  // A node selector keeps nodes out of sight, and their pods with them.
  if (context.attach.node && !addNodeLabels(labels, pod.nodeName, context)) return nothing;
  addNamespaceLabels(labels, pod.namespace, context);
  return groupOf(
    source,
    labels,
    pod.containers.flatMap((container) => containerTargets(pod, container)),
  );
}

function containerTargets(pod: Pod, container: Container): readonly LabelDraft[] {
  if (container.ports.length === 0) return [withId(containerLabels(pod.ip, container), container)];
  return container.ports.map((port) => {
    const target = containerLabels(joinHostPort(pod.ip, port.port), container);
    addPortLabels(target, port, port.protocol);
    return withId(target, container);
  });
}

function containerLabels(address: string, container: Container): LabelDraft {
  const target: LabelDraft = new Map([[ADDRESS, address]]);
  addContainerLabels(target, container);
  return target;
}

function withId(target: LabelDraft, container: Container): LabelDraft {
  return target.set(`${META}pod_container_id`, container.id);
}

export function addContainerLabels(target: LabelDraft, container: Container): void {
  target.set(`${META}pod_container_name`, container.name);
  target.set(`${META}pod_container_image`, container.image);
  target.set(`${META}pod_container_init`, String(container.isInit));
}

/** @param protocol  Of the port, or of the endpoint that leads to it. */
export function addPortLabels(target: LabelDraft, port: ContainerPort, protocol: string): void {
  target.set(`${META}pod_container_port_name`, port.name);
  target.set(`${META}pod_container_port_number`, String(port.port));
  target.set(`${META}pod_container_port_protocol`, protocol);
}

export function addPodLabels(draft: LabelDraft, pod: Pod, context: BuildContext): void {
  draft.set(`${META}pod_ip`, pod.ip);
  draft.set(`${META}pod_ready`, pod.ready);
  draft.set(`${META}pod_phase`, pod.phase);
  draft.set(`${META}pod_node_name`, pod.nodeName);
  draft.set(`${META}pod_host_ip`, pod.hostIp);
  draft.set(`${META}pod_uid`, pod.uid);
  addObjectLabels(draft, pod, 'pod');
  addControllerLabels(draft, pod, context);
}

function addControllerLabels(draft: LabelDraft, pod: Pod, { attach, lookup }: BuildContext): void {
  const { controller, namespace } = pod;
  if (controller === undefined) return;
  draft.set(`${META}pod_controller_kind`, controller.kind);
  draft.set(`${META}pod_controller_name`, controller.name);
  const key = `${namespace}/${controller.name}`;
  if (controller.kind === 'ReplicaSet' && attach.deployment) {
    const owner = lookup('replicasets', key)?.controller;
    if (owner?.kind === 'Deployment') draft.set(`${META}pod_deployment_name`, owner.name);
  }
  if (controller.kind !== 'Job') return;
  if (attach.job) draft.set(`${META}pod_job_name`, controller.name);
  if (attach.cronjob) {
    const owner = lookup('jobs', key)?.controller;
    if (owner?.kind === 'CronJob') draft.set(`${META}pod_cronjob_name`, owner.name);
  }
}
