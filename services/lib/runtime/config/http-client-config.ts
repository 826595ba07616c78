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
  readonly oauth2?: Oauth2Config | undefined;
  readonly proxy?: ProxyConfig | undefined;
}

/** Where tokens come from: OAuth 2, client credentials (RFC 6749, 4.4) or a signed assertion (RFC 7523, 2.1). */
export interface Oauth2Config {
  readonly clientId: string;
  readonly clientSecret: Secret;
  /** File read at each request for a token instead of `clientSecret`. */
  readonly clientSecretFile: string | undefined;
  readonly scopes: readonly string[];
  readonly tokenUrl: string;
  /** Further parameters of the request for a token. */
  readonly endpointParams: ReadonlyMap<string, string>;
  /** `grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer`: what the client signs instead of telling its secret. */
  readonly assertion?: JwtAssertionConfig | undefined;
  /** How the token's server is reached. */
  readonly tls: TlsConfig;
  readonly proxy: ProxyConfig | undefined;
}

export type JwtAlgorithm = 'RS256' | 'RS384' | 'RS512';

export interface JwtAssertionConfig {
  /** RSA private key in PEM; of the file, which is read at each request for a token, where that is set. */
  readonly key: Secret;
  readonly keyFile: string | undefined;
  /** `kid` of the header; empty: none. */
  readonly keyId: string;
  readonly algorithm: JwtAlgorithm;
  /** Empty: the client's id. */
  readonly issuer: string;
  /** Empty: the URL of the tokens. */
  readonly audience: string;
  /** Further claims; one of the same name replaces ours. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Which proxy connections go through: `url`, or what the environment of the process says. */
export type ProxyConfig =
  | {
      readonly kind: 'url';
      /** May hold a user and a password. */
      readonly url: Secret;
      /** Hosts, domains, addresses and networks that are reached directly, by commas. */
      readonly noProxy: string;
      readonly connectHeaders?: ProxyHeaders;
    }
  | { readonly kind: 'environment'; readonly connectHeaders?: ProxyHeaders };

/** Sent to the proxy with each CONNECT, that is, for https only. Absent: none. */
export type ProxyHeaders = ReadonlyMap<string, readonly Secret[]>;

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
