// Proxy settings of the configuration file in the words that Node's HTTP agents understand: variables as HTTP_PROXY and NO_PROXY.
import { isIP } from 'node:net';
import type { ProxyConfig } from './config/http-client-config.ts';

/** What Go's client, and so Prometheus, never asks a proxy for. */
const LOOPBACK = ['localhost', '.localhost', '127.0.0.0-127.255.255.255', '[::1]', '::1'];

export type ProxyEnvironment = {
  readonly HTTP_PROXY?: string | undefined;
  readonly HTTPS_PROXY?: string | undefined;
  readonly NO_PROXY?: string | undefined;
};

/** Undefined when connections are direct. */
export function proxyEnvironment(
  proxy: ProxyConfig | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): ProxyEnvironment | undefined {
  if (proxy === undefined) return undefined;
  const of = (name: string): string => environment[name.toLowerCase()] || environment[name] || '';
  const [http, https, except] =
    proxy.kind === 'url'
      ? [proxy.url.reveal(), proxy.url.reveal(), proxy.noProxy]
      : [of('HTTP_PROXY'), of('HTTPS_PROXY'), of('NO_PROXY')];
  // As Prometheus: a bare proxy_url is for everything, loopback too.
  const always = proxy.kind === 'url' && except === '' ? [] : LOOPBACK;
  const entries = except.split(',').map((entry) => entry.trim());
  const noProxy = [...entries.filter((entry) => entry !== '').flatMap(toNodeEntries), ...always];
  return {
    ...(http !== '' && { HTTP_PROXY: http }),
    ...(https !== '' && { HTTPS_PROXY: https }),
    ...(noProxy.length > 0 && { NO_PROXY: noProxy.join(',') }),
  };
}

/** A domain means its subdomains, too, and a network is a range of addresses. */
function toNodeEntries(entry: string): string[] {
  const network = /^([^/]+)\/(\d{1,3})$/.exec(entry);
  if (network !== null) {
    const range = rangeOf(network[1]!, Number(network[2]));
    return range === undefined ? [] : [range];
  }
  const host = entry.replace(/:\d+$/, '');
  if (entry === '*' || entry.startsWith('.') || entry.startsWith('*.') || isIP(host) !== 0) return [entry];
  return [entry, `.${entry}`];
}

/** First and last address of an IPv4 network. (Node knows no ranges of IPv6.) */
function rangeOf(address: string, bits: number): string | undefined {
  if (isIP(address) !== 4 || bits > 32) return undefined;
  const value = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - bits);
  const first = Math.floor(value / size) * size;
  return `${toAddress(first)}-${toAddress(first + size - 1)}`;
}

function toAddress(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
