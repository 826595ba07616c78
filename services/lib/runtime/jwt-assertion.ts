// Signed assertions that are exchanged for access tokens (RFC 7523, 2.1): a JSON Web Token with the claims that Prometheus puts into it.
import { createPrivateKey, type KeyObject, randomUUID, sign } from 'node:crypto';
import { AppError, toAppError } from '../core/errors.ts';
import type { JwtAssertionConfig, Oauth2Config } from './config/http-client-config.ts';

export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/** An assertion is exchanged at once; what clocks differ by is less. */
const LIFE_SECONDS = 600;
const DIGESTS = { RS256: 'sha256', RS384: 'sha384', RS512: 'sha512' } as const;

/**
 * The assertion of a client.
 *
 * @param key  PEM of its RSA private key.
 * @throws AppError `unavailable` when the key cannot be read.
 */
export function signAssertion(
  client: Pick<Oauth2Config, 'clientId' | 'scopes' | 'tokenUrl'>,
  assertion: JwtAssertionConfig,
  key: string,
  nowMs: number,
): string {
  const { algorithm, keyId, issuer, audience, claims } = assertion;
  const issuedAt = Math.floor(nowMs / 1000);
  const header = { alg: algorithm, typ: 'JWT', ...(keyId === '' ? {} : { kid: keyId }) };
  const payload = {
    iss: issuer || client.clientId,
    sub: client.clientId,
    jti: randomUUID(),
    aud: audience || client.tokenUrl,
    iat: issuedAt,
    exp: issuedAt + LIFE_SECONDS,
    ...(client.scopes.length === 0 ? {} : { scope: client.scopes.join(' ') }),
    ...claims,
  };
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${sign(DIGESTS[algorithm], Buffer.from(text), readKey(key)).toString('base64url')}`;
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}

function readKey(pem: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (caught) {
    throw new AppError(
      'unavailable',
      `the client's key is no private key in PEM: ${toAppError(caught).message}`,
    );
  }
  if (key.asymmetricKeyType !== 'rsa')
    throw new AppError('unavailable', `the client's key is ${key.asymmetricKeyType}, and has to be RSA`);
  return key;
}
