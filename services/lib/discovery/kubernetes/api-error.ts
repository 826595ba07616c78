// What an API server refuses, told so that somebody can act on it: the verb, the resource, where, and the rule that would help.
import { AppError } from '../../core/errors.ts';
import { parseJsonObject, textOf } from '../json.ts';
import type { WatchScope } from './resources.ts';

/** An answer other than 200. */
export class ApiStatusError extends AppError {
  readonly status: number;
  /** Milliseconds that the server asks to wait; 0 when it does not say. */
  readonly retryAfterMs: number;

  constructor(status: number, retryAfterMs: number, message: string) {
    super('unavailable', message);
    this.name = 'ApiStatusError';
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** The resource version is too old: list again. */
  get isGone(): boolean {
    return this.status === 410;
  }
}

/** @param body  What the server answered: a Status object, or anything. */
export function apiStatusError(
  verb: 'list' | 'watch' | 'get',
  scope: Pick<WatchScope, 'resource' | 'namespace'>,
  status: number,
  retryAfterMs: number,
  body: string,
): ApiStatusError {
  const said = textOf(parseJsonObject(body)?.message) || body.slice(0, 200).trim();
  const { group, name } = scope.resource;
  const where = scope.namespace === '' ? 'in all namespaces' : `in namespace ${scope.namespace}`;
  const what = `Kubernetes: ${verb} of ${group === '' ? name : `${name}.${group}`} ${where}`;
  const tail = said === '' ? '' : ` (${said})`;
  return new ApiStatusError(status, retryAfterMs, `${what}: ${describe(status, scope)}${tail}`);
}

function describe(status: number, scope: Pick<WatchScope, 'resource' | 'namespace'>): string {
  const { group, version, name } = scope.resource;
  switch (status) {
    case 401:
      return 'the API server does not accept the credentials (401); check token, certificate or service account';
    case 403: {
      const kind = scope.namespace === '' ? 'ClusterRole' : `Role in namespace ${scope.namespace}`;
      return `forbidden (403); a ${kind} needs the rule {apiGroups: [${JSON.stringify(group)}], resources: [${JSON.stringify(name)}], verbs: ["get", "list", "watch"]}`;
    }
    case 404:
      return `the API server does not know it (404); ${group === '' ? 'check the address' : `is ${group}/${version} installed?`}`;
    case 410:
      return 'the resource version is too old (410); it is listed again';
    case 429:
      return 'the API server is busy (429)';
    default:
      return `the API server answers ${status}`;
  }
}
