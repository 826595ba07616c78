// What an operator of NATS hands out, made from nothing: an operator, accounts and a user as signed tokens (JWT version 2, as
// nats-io/jwt describes them), the server's configuration and the user's credentials file.
import { nkeys } from '@nats-io/transport-node';

type KeyPair = ReturnType<typeof nkeys.createUser>;

const UNLIMITED = { subs: -1, data: -1, payload: -1 } as const;
const ACCOUNT_LIMITS = {
  ...UNLIMITED,
  ...{ imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 },
} as const;
const JETSTREAM_LIMITS = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 } as const;

const base64url = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64url');

/** A token about `subject`, signed by `issuer`. */
function sign(issuer: KeyPair, subject: KeyPair, type: string, claims: object): string {
  const [iss, sub] = [issuer.getPublicKey(), subject.getPublicKey()];
  const header = base64url(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' }));
  const nats = { ...claims, type, version: 2 };
  const body = { jti: sub, iat: Math.floor(Date.now() / 1000), iss, name: type, sub, nats };
  const signed = `${header}.${base64url(JSON.stringify(body))}`;
  return `${signed}.${base64url(issuer.sign(Buffer.from(signed)))}`;
}

export interface NatsAccounts {
  /** For the server's configuration file. */
  readonly config: string;
  /** Content of the user's credentials file. */
  readonly credentials: string;
}

export function makeNatsAccounts(): NatsAccounts {
  const [operator, system, account] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()];
  const user = nkeys.createUser();
  const accountToken = sign(operator, account, 'account', {
    limits: { ...ACCOUNT_LIMITS, ...JETSTREAM_LIMITS },
  });
  const systemToken = sign(operator, system, 'account', { limits: ACCOUNT_LIMITS });
  const operatorToken = sign(operator, operator, 'operator', { system_account: system.getPublicKey() });
  const userToken = sign(account, user, 'user', { pub: {}, sub: {}, ...UNLIMITED });
  return {
    config: `operator: ${operatorToken}
system_account: ${system.getPublicKey()}
resolver: MEMORY
resolver_preload: {
  ${system.getPublicKey()}: ${systemToken}
  ${account.getPublicKey()}: ${accountToken}
}
`,
    credentials: `-----BEGIN NATS USER JWT-----
${userToken}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
${Buffer.from(user.getSeed()).toString()}
------END USER NKEY SEED------
`,
  };
}

/** A user that is known by its key alone: the server's configuration, and the seed for the user's file. */
export function makeNkeyUser(): { readonly config: string; readonly seed: string } {
  const user = nkeys.createUser();
  return {
    config: `authorization { users: [{ nkey: ${user.getPublicKey()} }] }\n`,
    seed: Buffer.from(user.getSeed()).toString(),
  };
}
