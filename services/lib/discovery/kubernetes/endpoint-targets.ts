// Targets of the roles `endpoints` and `endpointslice`: addresses behind a service. Behind most stands a pod, whose labels the target
// gets; ports of such pods that the service does not name become targets of their own.
import type { TargetGroup } from '../../runtime/config/discovery-config.ts';
import { joinHostPort, sanitizeLabelName } from '../target-labels.ts';
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
import type {
  EndpointAddress,
  EndpointSlice,
  Endpoints,
  ObjectReference,
  Pod,
  Service,
  SliceEndpoint,
  SlicePort,
} from './objects.ts';
import { addContainerLabels, addPodLabels, addPortLabels } from './pod-targets.ts';
import { objectKey } from './resources.ts';
import { addServiceLabels } from './service-targets.ts';

/** Label of an EndpointSlice that names its service. */
const SERVICE_NAME = 'kubernetes.io/service-name';

/** Pods behind the targets so far, with the ports that the service names. */
type SeenPods = Map<Pod, Set<number>>;

export function buildEndpointsGroup(endpoints: Endpoints, context: BuildContext): TargetGroup {
  const { namespace } = endpoints;
  const labels: LabelDraft = new Map([[`${META}namespace`, namespace]]);
  const service = context.lookup('services', objectKey(endpoints)) as Service | undefined;
  if (service !== undefined) addServiceLabels(labels, service);
  addObjectLabels(labels, endpoints, 'endpoints');
  addNamespaceLabels(labels, namespace, context);
  const seen: SeenPods = new Map();
  const targets: LabelDraft[] = [];
  for (const { ports, ready, notReady } of endpoints.subsets) {
    for (const port of ports) {
      const add = (address: EndpointAddress, isReady: boolean): void => {
        const target: LabelDraft = new Map([[ADDRESS, joinHostPort(address.ip, port.port)]]);
        target.set(`${META}endpoint_port_name`, port.name);
        target.set(`${META}endpoint_port_protocol`, port.protocol);
        target.set(`${META}endpoint_ready`, String(isReady));
        addReference(target, address.target, 'endpoint');
        if (address.nodeName !== undefined) target.set(`${META}endpoint_node_name`, address.nodeName);
        target.set(`${META}endpoint_hostname`, address.hostname);
        // The address's own node comes first here, in slices the reference does: as in Prometheus.
        const node = address.nodeName ?? (address.target?.kind === 'Node' ? address.target.name : undefined);
        if (context.attach.node && node !== undefined) addNodeLabels(target, node, context);
        addPodBehind(target, address.target, port.port, port.protocol, seen, context);
        targets.push(target);
      };
      for (const address of ready) add(address, true);
      for (const address of notReady) add(address, false);
    }
  }
  return groupOf(`endpoints/${objectKey(endpoints)}`, labels, targets.concat(unnamedPorts(seen, context)));
}

export function buildEndpointSliceGroup(slice: EndpointSlice, context: BuildContext): TargetGroup {
  const { namespace } = slice;
  const source = `endpointslice/${objectKey(slice)}`;
  const labels: LabelDraft = new Map([[`${META}namespace`, namespace]]);
  labels.set(`${META}endpointslice_address_type`, slice.addressType);
  addObjectLabels(labels, slice, 'endpointslice');
  const name = slice.labels.find(([label]) => label === SERVICE_NAME)?.[1];
  const service =
    name === undefined
      ? undefined
      : (context.lookup('services', `${namespace}/${name}`) as Service | undefined);
  if (service !== undefined) addServiceLabels(labels, service);
  addNamespaceLabels(labels, namespace, context);
  if (service !== undefined && isSecondaryFamily(service, slice)) return groupOf(source, labels, []);
  const seen: SeenPods = new Map();
  const targets: LabelDraft[] = [];
  for (const endpoint of slice.endpoints) {
    for (const port of slice.ports) {
      for (const address of endpoint.addresses)
        targets.push(sliceTarget(address, endpoint, port, seen, context));
    }
  }
  return groupOf(source, labels, targets.concat(unnamedPorts(seen, context)));
}

/** Both slices of a dual-stack service lead to the same pods: the one of its first family counts. */
function isSecondaryFamily(service: Service, slice: EndpointSlice): boolean {
  const { ipFamilyPolicy, ipFamilies } = service;
  if (ipFamilyPolicy !== 'PreferDualStack' && ipFamilyPolicy !== 'RequireDualStack') return false;
  return ipFamilies.length > 0 && slice.addressType !== ipFamilies[0];
}

function sliceTarget(
  address: string,
  endpoint: SliceEndpoint,
  port: SlicePort,
  seen: SeenPods,
  context: BuildContext,
): LabelDraft {
  const target: LabelDraft = new Map();
  const set = (name: string, value: string | number | boolean | undefined): void => {
    if (value !== undefined) target.set(`${META}endpointslice_${name}`, String(value));
  };
  target.set(ADDRESS, port.port === undefined ? address : joinHostPort(address, port.port));
  set('port_name', port.name);
  set('port_protocol', port.protocol);
  set('port', port.port);
  set('port_app_protocol', port.appProtocol);
  set('endpoint_conditions_ready', endpoint.ready);
  set('endpoint_conditions_serving', endpoint.serving);
  set('endpoint_conditions_terminating', endpoint.terminating);
  set('endpoint_hostname', endpoint.hostname);
  addReference(target, endpoint.target, 'endpointslice');
  set('endpoint_node_name', endpoint.nodeName);
  set('endpoint_zone', endpoint.zone);
  for (const [name, value] of endpoint.topology) {
    set(`endpoint_topology_${sanitizeLabelName(name)}`, value);
    set(`endpoint_topology_present_${sanitizeLabelName(name)}`, true);
  }
  const node = endpoint.target?.kind === 'Node' ? endpoint.target.name : endpoint.nodeName;
  if (context.attach.node && node !== undefined) addNodeLabels(target, node, context);
  addPodBehind(target, endpoint.target, port.port, undefined, seen, context);
  return target;
}

function addReference(target: LabelDraft, reference: ObjectReference | undefined, object: string): void {
  if (reference === undefined) return;
  target.set(`${META}${object}_address_target_kind`, reference.kind);
  target.set(`${META}${object}_address_target_name`, reference.name);
}

/**
 * Adds the labels of the pod that an address leads to, and of its container where a port is the same.
 *
 * @param protocol  Of the endpoint's port; undefined: the container's own is taken.
 */
function addPodBehind(
  target: LabelDraft,
  reference: ObjectReference | undefined,
  port: number | undefined,
  protocol: string | undefined,
  seen: SeenPods,
  context: BuildContext,
): void {
  if (reference?.kind !== 'Pod') return;
  const pod = context.lookup('pods', objectKey(reference)) as Pod | undefined;
  if (pod === undefined) return;
  addPodLabels(target, pod, context);
  const named = seen.get(pod) ?? new Set<number>();
  seen.set(pod, named);
  if (port === undefined) return;
  named.add(port);
  for (const container of pod.containers) {
    const own = container.ports.find((each) => each.port === port);
    if (own === undefined) continue;
    addContainerLabels(target, container);
    addPortLabels(target, own, protocol ?? own.protocol);
  }
}

/** Ports of pods behind the service that it does not name. */
function unnamedPorts(seen: SeenPods, context: BuildContext): readonly LabelDraft[] {
  const targets: LabelDraft[] = [];
  for (const [pod, named] of seen) {
    if (pod.ip === '') continue;
    for (const container of pod.containers) {
      for (const port of container.ports) {
        if (named.has(port.port)) continue;
        const target: LabelDraft = new Map([[ADDRESS, joinHostPort(pod.ip, port.port)]]);
        addContainerLabels(target, container);
        addPortLabels(target, port, port.protocol);
        addPodLabels(target, pod, context);
        targets.push(target);
      }
    }
  }
  return targets;
}
