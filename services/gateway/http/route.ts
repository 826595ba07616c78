// Routes as data: each module of the API gives a list of them, service.ts puts them into one table.
import { AppError } from '../../lib/core/errors.ts';
import { type ApiResult, type Exchange, sendResult } from './exchange.ts';

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';

export interface Route {
  /** Path; one `{name}` segment stands for any text without a slash. */
  readonly template: string;
  /** The route's name in metrics, where it is not the template. */
  readonly metricsRoute?: string;
  readonly methods: readonly Method[];
  /** `api`: CORS, 503 until ready, errors in Prometheus' envelope. `plain`: none of these. */
  readonly kind: 'api' | 'plain';
  /** The form body belongs to the handler (remote write), not to the parameters. */
  readonly ownsBody?: boolean;
  handle(exchange: Exchange): Promise<void>;
}

/** A route of the API that answers with one whole result. */
export function apiRoute(
  methods: readonly Method[],
  template: string,
  answer: (exchange: Exchange) => Promise<ApiResult> | ApiResult,
): Route {
  return {
    template,
    methods,
    kind: 'api',
    handle: async (exchange) => sendResult(exchange, await answer(exchange)),
  };
}

/** What a path and method lead to. */
export type RouteMatch =
  | { readonly kind: 'found'; readonly route: Route; readonly pathValue: string }
  | { readonly kind: 'wrong-method'; readonly allowed: readonly Method[] }
  | { readonly kind: 'none' };

interface PatternRoutes {
  readonly prefix: string;
  readonly suffix: string;
  readonly routes: readonly Route[];
}

/** Finds routes. Exact paths by a map, the few with a variable segment by prefix and suffix. */
export class RouteTable {
  readonly #exact = new Map<string, Route[]>();
  readonly #patterns: PatternRoutes[] = [];

  constructor(routes: readonly Route[]) {
    const byTemplate = Map.groupBy(routes, (route) => route.template);
    for (const [template, group] of byTemplate) {
      const parts = /^(.*)\{[^}]+\}(.*)$/.exec(template);
      if (parts === null) this.#exact.set(template, group);
      else this.#patterns.push({ prefix: parts[1]!, suffix: parts[2]!, routes: group });
    }
  }

  /** @throws AppError `bad_data` when the variable segment is not valid percent-encoding. */
  find(method: string, path: string): RouteMatch {
    const exact = this.#exact.get(path);
    if (exact !== undefined) return choose(exact, method, '');
    for (const { prefix, suffix, routes } of this.#patterns) {
      if (!path.startsWith(prefix) || !path.endsWith(suffix)) continue;
      const segment = path.slice(prefix.length, path.length - suffix.length);
      if (path.length <= prefix.length + suffix.length || segment.includes('/')) continue;
      return choose(routes, method, decodeSegment(segment));
    }
    return { kind: 'none' };
  }
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (caught) {
    throw new AppError('bad_data', `invalid URL escape in path segment ${JSON.stringify(segment)}`, {
      cause: caught,
    });
  }
}

function choose(routes: readonly Route[], method: string, pathValue: string): RouteMatch {
  const route = routes.find(({ methods }) => methods.some((own) => own === method));
  if (route !== undefined) return { kind: 'found', route, pathValue };
  const allowed = [...new Set(routes.flatMap(({ methods }) => methods))].sort();
  return { kind: 'wrong-method', allowed };
}
