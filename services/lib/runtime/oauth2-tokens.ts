// Access tokens by OAuth 2, for the client's secret or an assertion that it signs: asked for when they are needed, kept until shortly before
// they end.
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { AppError, toAppError } from '../core/errors.ts';
import type { Oauth2Config } from './config/http-client-config.ts';
import { JWT_BEARER, signAssertion } from './jwt-assertion.ts';

/** A token is not used in the last moments of its life: requests take time. */
const SPARE_MS = 10_000;
const FORM = 'application/x-www-form-urlencoded';
const ANSWER_BYTES_MAX = 1 << 20;
/** How much of a refusal stands in the error. */
const REFUSAL_CHARACTERS_MAX = 200;

/** How the client says who it is. */
type Style = 'header' | 'form' | 'assertion';

/** Posts a form; its caller reads the answer. */
export type PostForm = (
  url: URL,
  headers: Record<string, string>,
  body: Uint8Array,
  signal: AbortSignal,
) => Promise<IncomingMessage>;

export interface Oauth2Deps {
  readonly clock: Clock;
  readonly post: PostForm;
  readonly readText: (response: IncomingMessage, bytesMax: number) => Promise<string>;
  readonly readSecretFile: (file: string) => Promise<string>;
}

interface Token {
  readonly type: string;
  readonly value: string;
  /** By the monotonic clock; Infinity when the server does not say. */
  readonly endsAtMs: number;
  /** The secret that it was got with: another one asks anew. */
  readonly secret: string;
}

/** The tokens of one client. */
export class Oauth2Tokens {
  readonly #config: Oauth2Config;
  readonly #deps: Oauth2Deps;
  #token: Token | undefined;
  #asking: Promise<Token> | undefined;
  /** How the server wants client and secret: found out at the first request, header first, as Go's client does. */
  #style: 'unknown' | Style = 'unknown';

  constructor(config: Oauth2Config, deps: Oauth2Deps) {
    this.#config = config;
    this.#deps = deps;
  }

  /**
   * The value of an Authorization header.
   *
   * @throws AppError `unavailable` naming the token's server and what it says.
   */
  async authorization(signal: AbortSignal): Promise<string> {
    const { clientSecret, clientSecretFile, assertion } = this.#config;
    const [text, file] =
      assertion === undefined ? [clientSecret, clientSecretFile] : [assertion.key, assertion.keyFile];
    const secret = file === undefined ? text.reveal() : await this.#deps.readSecretFile(file);
    let token = this.#token;
    const isGood =
      token !== undefined && token.secret === secret && this.#deps.clock.monotonicMs() < token.endsAtMs;
    if (!isGood) {
      this.#asking ??= this.#ask(secret, signal).finally(() => {
        this.#asking = undefined;
      });
      token = await this.#asking;
      this.#token = token;
    }
    return `${token!.type} ${token!.value}`;
  }

  /** After a refusal: the next request asks for another token. */
  forget(): void {
    this.#token = undefined;
  }

  async #ask(secret: string, signal: AbortSignal): Promise<Token> {
    const styles = this.#styles();
    let refusal: AppError | undefined;
    for (const style of styles) {
      try {
        const token = await this.#askAs(style, secret, signal);
        this.#style = style;
        return token;
      } catch (caught) {
        refusal = toAppError(caught);
      }
    }
    throw new AppError('unavailable', `oauth2: ${this.#config.tokenUrl}: ${refusal!.message}`, {
      cause: refusal,
    });
  }

  /** An assertion says who the client is; a secret goes where the server wants it. */
  #styles(): readonly Style[] {
    if (this.#config.assertion !== undefined) return ['assertion'];
    return this.#style === 'unknown' ? ['header', 'form'] : [this.#style];
  }

  /** What the request for a token says in any style. */
  #form(secret: string): URLSearchParams {
    const { scopes, endpointParams, tokenUrl, assertion } = this.#config;
    const form = new URLSearchParams({
      grant_type: assertion === undefined ? 'client_credentials' : JWT_BEARER,
    });
    if (assertion !== undefined)
      form.set('assertion', signAssertion(this.#config, assertion, secret, this.#deps.clock.nowMs()));
    if (scopes.length > 0) form.set('scope', scopes.join(' '));
    for (const [name, value] of endpointParams) {
      if (assertion !== undefined && name !== 'grant_type' && form.has(name))
        throw new AppError('unavailable', `endpoint_params cannot replace ${name} (${tokenUrl})`);
      form.set(name, value);
    }
    return form;
  }

  async #askAs(style: Style, secret: string, signal: AbortSignal): Promise<Token> {
    const { clientId, tokenUrl } = this.#config;
    const { clock, post, readText } = this.#deps;
    const form = this.#form(secret);
    const headers: Record<string, string> = { accept: 'application/json', 'content-type': FORM };
    if (style === 'header') {
      const pair = `${encodeURIComponent(clientId)}:${encodeURIComponent(secret)}`;
      headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
    } else if (style === 'form') {
      form.set('client_id', clientId);
      if (secret !== '') form.set('client_secret', secret);
    }
    const response = await post(new URL(tokenUrl), headers, Buffer.from(form.toString()), signal);
    const askedAtMs = clock.monotonicMs();
    const text = await readText(response, ANSWER_BYTES_MAX);
    const status = response.statusCode ?? 0;
    if (status < 200 || status > 299) {
      throw new AppError('unavailable', `HTTP status ${status}: ${text.slice(0, REFUSAL_CHARACTERS_MAX)}`);
    }
    return { ...readToken(text, askedAtMs), secret };
  }
}

function readToken(text: string, askedAtMs: number): Omit<Token, 'secret'> {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new AppError('unavailable', 'the answer is not JSON');
  }
  const {
    access_token: value,
    token_type: type,
    expires_in: seconds,
  } = (answer ?? {}) as Record<string, unknown>;
  if (typeof value !== 'string' || value === '') {
    throw new AppError('unavailable', 'the answer has no access_token');
  }
  const life = Number(seconds);
  return {
    value,
    type: typeof type === 'string' && type !== '' && type.toLowerCase() !== 'bearer' ? type : 'Bearer',
    endsAtMs: life > 0 ? askedAtMs + life * 1000 - SPARE_MS : Number.POSITIVE_INFINITY,
  };
}
