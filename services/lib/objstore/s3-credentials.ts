// Who we are to an object store: from files, which are read again since they are renewed, or from the environment variables that all S3 tools
// know. The secret itself is never shown.
import { readFile } from 'node:fs/promises';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { Secret } from '../runtime/config/secret.ts';

export interface S3Credentials {
  readonly accessKey: string;
  readonly secretKey: Secret;
  /** Of temporary credentials. */
  readonly sessionToken: Secret | undefined;
}

export interface CredentialFiles {
  readonly accessKeyFile: string;
  readonly secretKeyFile: string;
  /** Empty: none. */
  readonly sessionTokenFile: string;
}

/** Files are looked at again after this long. */
const FRESH_MS = 30_000;

/**
 * @param files  Empty names: the environment's AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
 * @returns a function that gives the credentials of the moment. It throws AppError `bad_data` when there are none, naming the remedy.
 */
export function createCredentials(
  files: CredentialFiles,
  environment: Readonly<Record<string, string | undefined>>,
  deps: { readonly clock: Clock },
): () => Promise<S3Credentials> {
  if (files.accessKeyFile === '' && files.secretKeyFile === '')
    return () => Promise.resolve(fromEnvironment(environment));
  let known: S3Credentials | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;
  return async () => {
    if (known !== undefined && deps.clock.monotonicMs() - readAtMs < FRESH_MS) return known;
    known = await fromFiles(files);
    readAtMs = deps.clock.monotonicMs();
    return known;
  };
}

function fromEnvironment(environment: Readonly<Record<string, string | undefined>>): S3Credentials {
  const {
    AWS_ACCESS_KEY_ID: accessKey,
    AWS_SECRET_ACCESS_KEY: secretKey,
    AWS_SESSION_TOKEN: token,
  } = environment;
  if (!accessKey || !secretKey)
    throw new AppError(
      'bad_data',
      'object storage: no credentials: give --objstore.access-key-file and --objstore.secret-key-file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
    );
  return { accessKey, secretKey: new Secret(secretKey), sessionToken: token ? new Secret(token) : undefined };
}

async function fromFiles({
  accessKeyFile,
  secretKeyFile,
  sessionTokenFile,
}: CredentialFiles): Promise<S3Credentials> {
  if (accessKeyFile === '' || secretKeyFile === '')
    throw new AppError(
      'bad_data',
      'flags --objstore.access-key-file and --objstore.secret-key-file belong together',
    );
  const accessKey = await readLine('objstore.access-key-file', accessKeyFile);
  const secretKey = new Secret(await readLine('objstore.secret-key-file', secretKeyFile));
  const sessionToken =
    sessionTokenFile === ''
      ? undefined
      : new Secret(await readLine('objstore.session-token-file', sessionTokenFile));
  return { accessKey, secretKey, sessionToken };
}

async function readLine(flag: string, file: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new AppError(
      'bad_data',
      `flag --${flag}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
  if (text === '' || /\s/.test(text))
    throw new AppError('bad_data', `flag --${flag}: ${file} does not hold one word`);
  return text;
}
