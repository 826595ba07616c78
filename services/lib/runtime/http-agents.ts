// Kept-alive connections of one HTTP client, by scheme: TLS whose files are read again when they change, and the proxy.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { HttpClientConfig } from './config/http-client-config.ts';
import { proxyEnvironment } from './proxy-environment.ts';
import { type ConnectHeaders, TunnelAgent } from './tunnel-agent.ts';

/** Certificates and keys are looked at again after this long. */
const TLS_FILES_FRESH_MS = 30_000;

/** Connections by scheme. */
export class HttpAgents {
  readonly #config: Pick<HttpClientConfig, 'tls' | 'proxy'>;
  readonly #clock: Clock;
  #http: http.Agent | undefined;
  #https: https.Agent | undefined;
  #material: TlsMaterial | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(config: Pick<HttpClientConfig, 'tls' | 'proxy'>, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
  }

  http(): http.Agent {
    this.#http ??= new http.Agent({ keepAlive: true, scheduling: 'lifo', ...this.#proxy() });
    return this.#http;
  }

  #proxy(): Pick<http.AgentOptions, 'proxyEnv'> | undefined {
    const proxyEnv: http.AgentOptions['proxyEnv'] = proxyEnvironment(this.#config.proxy, process.env);
    return proxyEnv === undefined ? undefined : { proxyEnv };
  }

  async https(): Promise<https.Agent> {
    if (this.#https !== undefined && this.#clock.monotonicMs() - this.#readAtMs < TLS_FILES_FRESH_MS)
      return this.#https;
    const material = await readTlsMaterial(this.#config);
    this.#readAtMs = this.#clock.monotonicMs();
    const { tls } = this.#config;
    if (this.#https === undefined || !sameMaterial(material, this.#material)) {
      this.#https?.destroy();
      this.#material = material;
      this.#https = this.#createHttps({
        keepAlive: true,
        scheduling: 'lifo',
        rejectUnauthorized: !tls.insecureSkipVerify,
        ...(material.ca === undefined ? {} : { ca: material.ca }),
        ...(material.cert === undefined ? {} : { cert: material.cert }),
        ...(material.key === undefined ? {} : { key: material.key }),
        ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
        ...(tls.minVersion === undefined ? {} : { minVersion: tls.minVersion }),
        ...(tls.maxVersion === undefined ? {} : { maxVersion: tls.maxVersion }),
      });
    }
    return this.#https;
  }

  #createHttps(options: https.AgentOptions): https.Agent {
    const headers: ConnectHeaders = Object.fromEntries(
      [...(this.#config.proxy?.connectHeaders ?? [])].map(([name, values]) => [
        name,
        values.map((value) => value.reveal()),
      ]),
    );
    const proxy = proxyEnvironment(this.#config.proxy, process.env);
    if (proxy === undefined || Object.keys(headers).length === 0)
      return new https.Agent({ ...options, ...this.#proxy() });
    return new TunnelAgent(options, proxy, headers);
  }

  close(): void {
    this.#http?.destroy();
    this.#https?.destroy();
    this.#http = undefined;
    this.#https = undefined;
  }
}

interface TlsMaterial {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

async function readTlsMaterial({ tls }: Pick<HttpClientConfig, 'tls'>): Promise<TlsMaterial> {
  const [ca, cert, key] = await Promise.all([
    tls.caFile === undefined ? tls.ca : readSecretFile(tls.caFile),
    tls.certFile === undefined ? tls.cert : readSecretFile(tls.certFile),
    tls.keyFile === undefined ? tls.key?.reveal() : readSecretFile(tls.keyFile),
  ]);
  return { ca, cert, key };
}

function sameMaterial(a: TlsMaterial, b: TlsMaterial | undefined): boolean {
  return b !== undefined && a.ca === b.ca && a.cert === b.cert && a.key === b.key;
}

/** The content of a file, trimmed. @throws AppError `unavailable` when it cannot be read. */
export async function readSecretFile(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (caught) {
    throw new AppError(
      'unavailable',
      `cannot read ${file}: ${caught instanceof Error ? caught.message : String(caught)}`,
    );
  }
}
