// Kubernetes objects as discovery keeps them: only what becomes labels or targets, taken out of the API's JSON when it arrives, so
// that a cluster's managed fields, environment variables and volumes do not stay in memory. The API server checks its objects, but
// a proxy in between may not: what has another type than it should counts as absent.
import { isJsonObject, type JsonObject, textOf } from '../json.ts';

/** Controller of an object, by its owner references. */
export interface Controller {
  readonly kind: string;
  readonly name: string;
}

export interface ObjectMeta {
  readonly name: string;
  /** Empty for cluster-scoped objects. */
  readonly namespace: string;
  readonly uid: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly annotations: readonly (readonly [string, string])[];
  readonly controller: Controller | undefined;
}

export interface ContainerPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  /** Empty before it was started. */
  readonly id: string;
  readonly isInit: boolean;
  readonly ports: readonly ContainerPort[];
}

export interface Pod extends ObjectMeta {
  readonly ip: string;
  readonly hostIp: string;
  readonly phase: string;
  /** `true`, `false` or `unknown`. */
  readonly ready: string;
  readonly nodeName: string;
  /** Init containers last. */
  readonly containers: readonly Container[];
}

export interface Node extends ObjectMeta {
  readonly providerId: string;
  /** Type and status, lower case. */
  readonly conditions: readonly (readonly [string, string])[];
  /** Type and address, in the object's order. */
  readonly addresses: readonly (readonly [string, string])[];
  readonly kubeletPort: number;
}

export interface Service extends ObjectMeta {
  readonly type: string;
  readonly clusterIp: string;
  readonly externalName: string;
  readonly loadBalancerIp: string;
  readonly ipFamilyPolicy: string;
  readonly ipFamilies: readonly string[];
  readonly ports: readonly ContainerPort[];
}

export interface ObjectReference {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export interface EndpointAddress {
  readonly ip: string;
  readonly hostname: string;
  readonly nodeName: string | undefined;
  readonly target: ObjectReference | undefined;
}

export interface Endpoints extends ObjectMeta {
  readonly subsets: readonly {
    readonly ports: readonly ContainerPort[];
    readonly ready: readonly EndpointAddress[];
    readonly notReady: readonly EndpointAddress[];
  }[];
}

export interface SlicePort {
  readonly name: string | undefined;
  readonly port: number | undefined;
  readonly protocol: string | undefined;
  readonly appProtocol: string | undefined;
}

export interface SliceEndpoint {
  readonly addresses: readonly string[];
  readonly ready: boolean | undefined;
  readonly serving: boolean | undefined;
  readonly terminating: boolean | undefined;
  readonly hostname: string | undefined;
  readonly nodeName: string | undefined;
  readonly zone: string | undefined;
  readonly target: ObjectReference | undefined;
  readonly topology: readonly (readonly [string, string])[];
}

export interface EndpointSlice extends ObjectMeta {
  readonly addressType: string;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly SliceEndpoint[];
}

export interface Ingress extends ObjectMeta {
  readonly className: string | undefined;
  readonly tlsHosts: readonly string[];
  /** Undefined paths: the rule names none. */
  readonly rules: readonly { readonly host: string; readonly paths: readonly string[] | undefined }[];
}

/** Metadata of any object. */
export function readMeta(object: JsonObject): ObjectMeta {
  const meta = child(object, 'metadata');
  return {
    name: textOf(meta.name),
    namespace: textOf(meta.namespace),
    uid: textOf(meta.uid),
    labels: textPairs(meta.labels),
    annotations: textPairs(meta.annotations),
    controller: controllerOf(meta),
  };
}

function controllerOf(meta: JsonObject): Controller | undefined {
  const owner = objects(meta.ownerReferences).find(({ controller }) => controller === true);
  return owner === undefined ? undefined : { kind: textOf(owner.kind), name: textOf(owner.name) };
}

export function readPod(object: JsonObject): Pod {
  const spec = child(object, 'spec');
  const status = child(object, 'status');
  const ready = objects(status.conditions).find(({ type }) => type === 'Ready');
  return {
    ...readMeta(object),
    ip: textOf(status.podIP),
    hostIp: textOf(status.hostIP),
    phase: textOf(status.phase),
    ready: ready === undefined ? 'unknown' : textOf(ready.status).toLowerCase(),
    nodeName: textOf(spec.nodeName),
    containers: [
      ...readContainers(spec.containers, status.containerStatuses, false),
      ...readContainers(spec.initContainers, status.initContainerStatuses, true),
    ],
  };
}

function readContainers(specs: unknown, statuses: unknown, isInit: boolean): readonly Container[] {
  const states = objects(statuses);
  return objects(specs).map((spec) => ({
    name: textOf(spec.name),
    image: textOf(spec.image),
    id: textOf(states.find(({ name }) => name === spec.name)?.containerID),
    isInit,
    ports: objects(spec.ports).map((port) => readPort(port, port.containerPort)),
  }));
}

function readPort(port: JsonObject, number: unknown): ContainerPort {
  return { name: textOf(port.name), port: integerOf(number) ?? 0, protocol: textOf(port.protocol) };
}

export function readNode(object: JsonObject): Node {
  const status = child(object, 'status');
  const kubelet = child(child(status, 'daemonEndpoints'), 'kubeletEndpoint');
  return {
    ...readMeta(object),
    providerId: textOf(child(object, 'spec').providerID),
    conditions: objects(status.conditions).map(
      (each) => [textOf(each.type).toLowerCase(), textOf(each.status).toLowerCase()] as const,
    ),
    addresses: objects(status.addresses).map((each) => [textOf(each.type), textOf(each.address)] as const),
    kubeletPort: integerOf(kubelet.Port) ?? 0,
  };
}

export function readService(object: JsonObject): Service {
  const spec = child(object, 'spec');
  return {
    ...readMeta(object),
    type: textOf(spec.type),
    clusterIp: textOf(spec.clusterIP),
    externalName: textOf(spec.externalName),
    loadBalancerIp: textOf(spec.loadBalancerIP),
    ipFamilyPolicy: textOf(spec.ipFamilyPolicy),
    ipFamilies: texts(spec.ipFamilies),
    ports: objects(spec.ports).map((port) => readPort(port, port.port)),
  };
}

export function readEndpoints(object: JsonObject): Endpoints {
  return {
    ...readMeta(object),
    subsets: objects(object.subsets).map((subset) => ({
      ports: objects(subset.ports).map((port) => readPort(port, port.port)),
      ready: objects(subset.addresses).map(readAddress),
      notReady: objects(subset.notReadyAddresses).map(readAddress),
    })),
  };
}

function readAddress(address: JsonObject): EndpointAddress {
  return {
    ip: textOf(address.ip),
    hostname: textOf(address.hostname),
    nodeName: optionalText(address.nodeName),
    target: readReference(address.targetRef),
  };
}

function readReference(value: unknown): ObjectReference | undefined {
  if (!isJsonObject(value)) return undefined;
  return { kind: textOf(value.kind), namespace: textOf(value.namespace), name: textOf(value.name) };
}

export function readEndpointSlice(object: JsonObject): EndpointSlice {
  return {
    ...readMeta(object),
    addressType: textOf(object.addressType),
    ports: objects(object.ports).map((port) => ({
      name: optionalText(port.name),
      port: integerOf(port.port),
      protocol: optionalText(port.protocol),
      appProtocol: optionalText(port.appProtocol),
    })),
    endpoints: objects(object.endpoints).map(readSliceEndpoint),
  };
}

function readSliceEndpoint(endpoint: JsonObject): SliceEndpoint {
  const conditions = child(endpoint, 'conditions');
  return {
    addresses: texts(endpoint.addresses),
    ready: flagOf(conditions.ready),
    serving: flagOf(conditions.serving),
    terminating: flagOf(conditions.terminating),
    hostname: optionalText(endpoint.hostname),
    nodeName: optionalText(endpoint.nodeName),
    zone: optionalText(endpoint.zone),
    target: readReference(endpoint.targetRef),
    topology: textPairs(endpoint.deprecatedTopology),
  };
}

export function readIngress(object: JsonObject): Ingress {
  const spec = child(object, 'spec');
  return {
    ...readMeta(object),
    className: optionalText(spec.ingressClassName),
    tlsHosts: objects(spec.tls).flatMap((each) => [...texts(each.hosts)]),
    rules: objects(spec.rules).map((rule) => ({
      host: textOf(rule.host),
      paths: isJsonObject(rule.http) ? objects(rule.http.paths).map(({ path }) => textOf(path)) : undefined,
    })),
  };
}

function child(object: JsonObject, key: string): JsonObject {
  const value = object[key];
  return isJsonObject(value) ? value : {};
}

function objects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

function textPairs(value: unknown): readonly (readonly [string, string])[] {
  if (!isJsonObject(value)) return [];
  return Object.entries(value).flatMap(([name, each]) => (typeof each === 'string' ? [[name, each]] : []));
}

function optionalText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function flagOf(value: unknown): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined;
}

function integerOf(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined;
}
