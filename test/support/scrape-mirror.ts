// Stands between targets and the servers that scrape them: takes one exposition of each target, and gives that to everybody until
// it is told to take the next. Two servers that scrape at different times then see the same values, and can be compared exactly.
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the servers under comparison ask for first. */
const ACCEPT =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';

interface Snapshot {
  readonly contentType: string;
  readonly body: Buffer;
}

export interface ScrapeMirror {
  /** `host:port` of a target's mirror. */
  addressOf(target: string): string;
  /** Takes a new exposition of each target. A target that does not answer keeps its last one. */
  refresh(): Promise<void>;
  /** True when each of the programs, by the start of its User-Agent, asked for each target `times` times since `refresh`. */
  wasScraped(agents: readonly string[], times: number): boolean;
  close(): Promise<void>;
}

/**
 * A mirror of each target on a loopback port of its own, since Prometheus tells targets apart by their addresses.
 *
 * @param targets  Name of a target → URL of its exposition.
 */
export async function startScrapeMirror(targets: ReadonlyMap<string, string>): Promise<ScrapeMirror> {
  const snapshots = new Map<string, Snapshot>();
  const scrapes = new Map<string, number>();
  const servers = new Map<string, http.Server>();
  for (const name of targets.keys()) {
    const server = http.createServer((request, response) => {
      const snapshot = snapshots.get(name);
      const agent = (request.headers['user-agent'] ?? '').split('/')[0]!;
      scrapes.set(`${agent} ${name}`, (scrapes.get(`${agent} ${name}`) ?? 0) + 1);
      if (snapshot === undefined) response.writeHead(503).end();
      else response.writeHead(200, { 'content-type': snapshot.contentType }).end(snapshot.body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    servers.set(name, server);
  }
  return {
    addressOf: (name) => `127.0.0.1:${(servers.get(name)!.address() as AddressInfo).port}`,
    refresh: async () => {
      for (const [name, url] of targets) {
        const response = await fetch(url, { headers: { accept: ACCEPT } });
        const body = Buffer.from(await response.arrayBuffer());
        if (response.ok)
          snapshots.set(name, { contentType: response.headers.get('content-type') ?? '', body });
      }
      scrapes.clear();
    },
    wasScraped: (agents, times) =>
      agents.every((agent) =>
        [...targets.keys()].every((name) => (scrapes.get(`${agent} ${name}`) ?? 0) >= times),
      ),
    close: async () => {
      for (const server of servers.values()) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}
