// The kinds of objects that are listed and watched: where the API has them, and what is kept of each.
import type { JsonObject } from '../json.ts';
import {
  type ObjectMeta,
  readEndpointSlice,
  readEndpoints,
  readIngress,
  readMeta,
  readNode,
  readPod,
  readService,
} from './objects.ts';

export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** Plural, as in the path. */
  readonly name: string;
  /** Takes out of an object what is kept. */
  readonly read: (object: JsonObject) => ObjectMeta;
}

export type ResourceName =
  | 'nodes'
  | 'namespaces'
  | 'pods'
  | 'services'
  | 'endpoints'
  | 'endpointslices'
  | 'ingresses'
  | 'replicasets'
  | 'jobs';

export const RESOURCES: Readonly<Record<ResourceName, Resource>> = {
  nodes: { group: '', version: 'v1', name: 'nodes', read: readNode },
  namespaces: { group: '', version: 'v1', name: 'namespaces', read: readMeta },
  pods: { group: '', version: 'v1', name: 'pods', read: readPod },
  services: { group: '', version: 'v1', name: 'services', read: readService },
  endpoints: { group: '', version: 'v1', name: 'endpoints', read: readEndpoints },
  endpointslices: {
    group: 'discovery.k8s.io',
    version: 'v1',
    name: 'endpointslices',
    read: readEndpointSlice,
  },
  ingresses: { group: 'networking.k8s.io', version: 'v1', name: 'ingresses', read: readIngress },
  replicasets: { group: 'apps', version: 'v1', name: 'replicasets', read: readMeta },
  jobs: { group: 'batch', version: 'v1', name: 'jobs', read: readMeta },
};

/** What is listed and watched: a resource in a namespace (empty: all), with selectors as the API spells them. */
export interface WatchScope {
  readonly resource: Resource;
  readonly namespace: string;
  readonly labelSelector: string;
  readonly fieldSelector: string;
}

/** Path of the collection. */
export function pathOf({ resource, namespace }: Pick<WatchScope, 'resource' | 'namespace'>): string {
  const { group, version, name } = resource;
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  return namespace === '' ? `${root}/${name}` : `${root}/namespaces/${encodeURIComponent(namespace)}/${name}`;
}

/** Equal texts mean the same objects of one API server. */
export function scopeKey(scope: WatchScope): string {
  return `${pathOf(scope)}?${scope.labelSelector}&${scope.fieldSelector}`;
}

/** Key of an object within its resource: `namespace/name`, or the name where there are no namespaces. */
export function objectKey({
  namespace,
  name,
}: {
  readonly namespace: string;
  readonly name: string;
}): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}
