// Targets of role `service`: one per port, at the service's name, for blackbox monitoring of services.
import type { TargetGroup } from '../../runtime/config/discovery-config.ts';
import { joinHostPort } from '../target-labels.ts';
import {
  ADDRESS,
  addNamespaceLabels,
  addObjectLabels,
  type BuildContext,
  groupOf,
  type LabelDraft,
  META,
} from './meta-labels.ts';
import type { ContainerPort, Service } from './objects.ts';
import { objectKey } from './resources.ts';

export function buildServiceGroup(service: Service, context: BuildContext): TargetGroup {
  const labels: LabelDraft = new Map();
  addServiceLabels(labels, service);
  addNamespaceLabels(labels, service.namespace, context);
  const targets = service.ports.map((port) => portTarget(service, port));
  return groupOf(`svc/${objectKey(service)}`, labels, targets);
}

/** What a target says of the service that leads to it. */
export function addServiceLabels(draft: LabelDraft, service: Service): void {
  draft.set(`${META}namespace`, service.namespace);
  addObjectLabels(draft, service, 'service');
}

function portTarget(service: Service, port: ContainerPort): LabelDraft {
  const host = `${service.name}.${service.namespace}.svc`;
  const target: LabelDraft = new Map([[ADDRESS, joinHostPort(host, port.port)]]);
  target.set(`${META}service_port_name`, port.name);
  target.set(`${META}service_port_number`, String(port.port));
  target.set(`${META}service_port_protocol`, port.protocol);
  target.set(`${META}service_type`, service.type);
  if (service.type === 'ExternalName') target.set(`${META}service_external_name`, service.externalName);
  else target.set(`${META}service_cluster_ip`, service.clusterIp);
  if (service.type === 'LoadBalancer') target.set(`${META}service_loadbalancer_ip`, service.loadBalancerIp);
  return target;
}
