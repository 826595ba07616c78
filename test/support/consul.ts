// A Consul for tests: its catalogue and the health of services, with blocking queries.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface ConsulInstance {
  readonly node?: string;
  readonly nodeAddress?: string;
  readonly nodeMeta?: Readonly<Record<string, string>>;
  readonly taggedAddresses?: Readonly<Record<string, string>>;
  readonly id?: string;
  readonly address?: string;
  readonly port: number;
  readonly tags?: readonly string[];
  readonly meta?: Readonly<Record<string, string>>;
  readonly checks?: readonly { readonly id: string; readonly status: string }[];
}

export class FakeConsul {
  readonly #server = http.createServer((request, response) => this.#answer(request, response));
  readonly #services = new Map<string, readonly ConsulInstance[]>();
  readonly #waiting = new Set<() => void>();
  #index = 10;
  address = '';
  /** Tokens that are accepted; absent: everybody is. */
  token: string | undefined;
  status = 200;

  static async start(): Promise<FakeConsul> {
    const consul = new FakeConsul();
    await new Promise<void>((resolve) => consul.#server.listen(0, '127.0.0.1', resolve));
    consul.address = `127.0.0.1:${(consul.#server.address() as AddressInfo).port}`;
    onTestFinished(
      () =>
        new Promise<void>((resolve) => {
          consul.#server.close(() => resolve());
          consul.#server.closeAllConnections();
        }),
    );
    return consul;
  }

  /** Replaces the instances of a service; undefined removes it. */
  put(name: string, instances: readonly ConsulInstance[] | undefined): void {
    if (instances === undefined) this.#services.delete(name);
    else this.#services.set(name, instances);
    this.wake();
  }

  /** Lets all blocking queries return. */
  wake(): void {
    this.#index++;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? '/', `http://${this.address}`);
    const respond = (): void => this.#respond(url, request, response);
    // A query with the index that there is waits for the next.
    if (Number(url.searchParams.get('index') ?? 0) < this.#index) respond();
    else this.#waiting.add(respond);
  }

  #respond(url: URL, request: http.IncomingMessage, response: http.ServerResponse): void {
    if (this.token !== undefined && request.headers['x-consul-token'] !== this.token) {
      response.writeHead(403).end('Permission denied');
      return;
    }
    const body = this.#bodyOf(url);
    if (this.status !== 200 || body === undefined) {
      response.writeHead(body === undefined ? 404 : this.status).end('scripted');
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json', 'x-consul-index': String(this.#index) });
    response.end(JSON.stringify(body));
  }

  #bodyOf({ pathname, searchParams }: URL): unknown {
    if (pathname === '/v1/agent/self') return { Config: { Datacenter: 'dc-of-agent' } };
    if (pathname === '/v1/catalog/services') {
      const tagsOf = (instances: readonly ConsulInstance[]) => [
        ...new Set(instances.flatMap(({ tags = [] }) => tags)),
      ];
      return Object.fromEntries([...this.#services].map(([name, instances]) => [name, tagsOf(instances)]));
    }
    const name = /^\/v1\/health\/service\/([^/]+)$/.exec(pathname)?.[1];
    if (name === undefined) return undefined;
    const tags = searchParams.getAll('tag');
    return (this.#services.get(decodeURIComponent(name)) ?? [])
      .filter((instance) => tags.every((tag) => instance.tags?.includes(tag)))
      .map((instance, i) => entryOf(name, instance, i));
  }
}

function entryOf(service: string, instance: ConsulInstance, i: number): unknown {
  return {
    Node: {
      Node: instance.node ?? 'node-1',
      Address: instance.nodeAddress ?? '10.2.0.1',
      Datacenter: 'dc-of-agent',
      Meta: instance.nodeMeta,
      TaggedAddresses: instance.taggedAddresses,
    },
    Service: {
      ID: instance.id ?? `${service}-${i}`,
      Service: service,
      Tags: instance.tags ?? null,
      Address: instance.address ?? '',
      Port: instance.port,
      Meta: instance.meta,
    },
    Checks: (instance.checks ?? []).map(({ id, status }) => ({ CheckID: id, Status: status })),
  };
}
