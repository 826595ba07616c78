// Credentials and transport of an HTTP client, as every section of the configuration file spells them. The reader is
// http-client-section.ts; runtime/http-client.ts makes requests with it.
import type { Secret } from './secret.ts';

/** Credentials and transport of an HTTP client, as every section of the file spells them. */
export interface HttpClientConfig {
  readonly basicAuth: { readonly username: string; readonly password: Secret } | undefined;
  /** Type and credentials of the Authorization header; type `Bearer` by default. */
  readonly authorization: { readonly type: string; readonly credentials: Secret } | undefined;
  /** File read at each request instead of `credentials` / `password`. */
  readonly credentialsFile: string | undefined;
  readonly passwordFile: string | undefined;
  readonly tls: TlsConfig;
  /** Default true. Credentials never follow a redirect to another host. */
  readonly followRedirects: boolean;
  readonly headers: ReadonlyMap<string, readonly Secret[]>;
  /** File read at each request instead of `basicAuth.username`. */
  readonly usernameFile?: string | undefined;
  /** Header → files whose contents are further values, read at each request. */
  readonly headerFiles?: ReadonlyMap<string, readonly string[]>;
}

export type TlsVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';

export interface TlsConfig {
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly serverName: string | undefined;
  readonly insecureSkipVerify: boolean;
  /** PEM text instead of the file of the same name. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: Secret | undefined;
  readonly minVersion?: TlsVersion | undefined;
  readonly maxVersion?: TlsVersion | undefined;
}
