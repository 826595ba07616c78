// Connections to https servers through a proxy that wants headers of its own (`proxy_connect_header`): CONNECT, then TLS through the tunnel.
// Node's agents speak to proxies by themselves, but send no headers that we could choose; without such headers they are used.
import http from 'node:http';
import https from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError } from '../core/errors.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';

export type ConnectHeaders = Readonly<Record<string, readonly string[]>>;

/** Longest that a proxy may take to open a tunnel; scrapes end sooner by their own time-out. */
const CONNECT_TIMEOUT_MS = 60_000;

type Connected = (error: Error | null, stream: Duplex) => void;

export class TunnelAgent extends https.Agent {
  readonly #proxy: ProxyEnvironment;
  readonly #headers: ConnectHeaders;

  constructor(options: https.AgentOptions, proxy: ProxyEnvironment, headers: ConnectHeaders) {
    super(options);
    this.#proxy = proxy;
    this.#headers = headers;
  }

  override createConnection(
    options: https.RequestOptions & { readonly servername?: string },
    callback?: Connected,
  ): Duplex | null | undefined {
    const host = options.host ?? 'localhost';
    const port = Number(options.port ?? 443);
    const { HTTPS_PROXY: proxy, NO_PROXY: except = '' } = this.#proxy;
    if (proxy === undefined || isExcepted(host, port, except))
      return super.createConnection(options, callback);
    openTunnel(new URL(proxy), `${isIP(host) === 6 ? `[${host}]` : host}:${port}`, this.#headers).then(
      (socket) => {
        const secured = super.createConnection({ ...options, socket } as https.RequestOptions);
        callback?.(null, secured!);
      },
      (error: Error) => callback?.(error, undefined as unknown as Duplex),
    );
    return undefined;
  }
}

function openTunnel(proxy: URL, target: string, headers: ConnectHeaders): Promise<Duplex> {
  const user = decodeURIComponent(proxy.username);
  const credentials = Buffer.from(`${user}:${decodeURIComponent(proxy.password)}`).toString('base64');
  return new Promise((resolve, reject) => {
    const request = (proxy.protocol === 'https:' ? https : http).request({
      method: 'CONNECT',
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port === '' ? (proxy.protocol === 'https:' ? 443 : 80) : proxy.port,
      path: target,
      agent: false,
      timeout: CONNECT_TIMEOUT_MS,
      headers: {
        host: target,
        ...(user === '' ? {} : { 'proxy-authorization': `Basic ${credentials}` }),
        ...Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, [...values]])),
      },
    });
    request.once('timeout', () => request.destroy(new Error('the proxy opens no tunnel')));
    request.once('error', reject);
    request.once('connect', ({ statusCode, statusMessage }, socket) => {
      if (statusCode === 200) {
        resolve(socket);
        return;
      }
      socket.destroy();
      reject(
        new AppError(
          'unavailable',
          `proxy ${proxy.host} refuses a tunnel to ${target}: ${statusCode} ${statusMessage ?? ''}`.trimEnd(),
        ),
      );
    });
    request.end();
  });
}

/** Whether an entry of a NO_PROXY list, as proxy-environment.ts writes it, names the host. */
export function isExcepted(host: string, port: number, list: string): boolean {
  const name = host.toLowerCase();
  return list.split(',').some((each) => {
    const entry = each.toLowerCase();
    if (entry === '*' || entry === name || entry === `${name}:${port}` || entry === `[${name}]`) return true;
    if (entry.startsWith('.')) return name.endsWith(entry);
    if (entry.startsWith('*.')) return name.endsWith(entry.slice(1));
    const [first, last] = entry.split('-');
    if (first === undefined || last === undefined || isIP(first) !== 4 || isIP(last) !== 4) return false;
    return isIP(name) === 4 && numberOf(first) <= numberOf(name) && numberOf(name) <= numberOf(last);
  });
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}
