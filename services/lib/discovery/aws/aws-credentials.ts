// Where AWS credentials come from, in the order of AWS' own tools: the configuration, the environment, a profile of the shared files, the
// token of a pod's service account, the agent of a container, the instance. What ends is asked for again in time.
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { textAt, type XmlElement } from '../../core/xml.ts';
import type { Ec2SdConfig } from '../../runtime/config/discovery-config.ts';
import { type HttpClient, readText } from '../../runtime/http-client.ts';
import { isJsonObject, parseJsonObject, textOf } from '../json.ts';
import { type AwsCredentials, callAws } from './aws-api.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

/** Credentials that end are replaced so much earlier. */
const RENEW_BEFORE_MS = 5 * 60_000;
const ANSWER_BYTES_MAX = 64 * 1024;
/** Nobody answers there on other machines; then it is to be said soon. */
const INSTANCE_TIMEOUT_MS = 3_000;
const CONTAINER_HOST = 'http://169.254.170.2';
const INSTANCE_HOST = 'http://169.254.169.254';
const STS_VERSION = '2011-06-15';
const SESSION_NAME = 'tidemark';

export interface AwsSource {
  region(signal: AbortSignal): Promise<string>;
  credentials(signal: AbortSignal): Promise<AwsCredentials>;
  /** The next call asks for them again. */
  forget(): void;
}

export interface AwsSourceDeps {
  readonly clock: Clock;
  readonly variables: Variables;
  /** Without credentials of its own, and that follows no redirects. */
  readonly client: HttpClient;
}

export function createAwsSource(config: Ec2SdConfig, deps: AwsSourceDeps): AwsSource {
  let known: AwsCredentials | undefined;
  let region = config.region;
  const source = {
    region: async (signal: AbortSignal): Promise<string> => {
      region ||= await findRegion(config, deps, signal);
      return region;
    },
    credentials: async (signal: AbortSignal): Promise<AwsCredentials> => {
      if (known !== undefined && known.expiresAtMs - RENEW_BEFORE_MS > deps.clock.nowMs()) return known;
      const own = await findCredentials(config, deps, await source.region(signal), signal);
      known =
        config.roleArn === ''
          ? own
          : await assumeRole(config, deps, own, await source.region(signal), signal);
      return known;
    },
    forget: () => {
      known = undefined;
    },
  };
  return source;
}

/** URL of a regional service. */
export function awsEndpoint(service: 'ec2' | 'sts', region: string, variables: Variables): string {
  const own = variables[`AWS_ENDPOINT_URL_${service.toUpperCase()}`] ?? variables.AWS_ENDPOINT_URL;
  if (own !== undefined && own !== '') return own;
  return `https://${service}.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/`;
}

async function findRegion(config: Ec2SdConfig, deps: AwsSourceDeps, signal: AbortSignal): Promise<string> {
  const { variables } = deps;
  const named = variables.AWS_REGION || variables.AWS_DEFAULT_REGION;
  if (named) return named;
  const profile = await readProfile(config, variables);
  if (profile.get('region')) return profile.get('region')!;
  const region = await askInstance('placement/region', deps, signal).catch((caught: unknown) => {
    throw new AppError('unavailable', 'no region: set region, or AWS_REGION, or run on an instance', {
      cause: caught,
    });
  });
  return region.trim();
}

async function findCredentials(
  config: Ec2SdConfig,
  deps: AwsSourceDeps,
  region: string,
  signal: AbortSignal,
): Promise<AwsCredentials> {
  const { variables } = deps;
  const { accessKey, secretKey } = config;
  if (accessKey !== '' && secretKey !== undefined && secretKey.reveal() !== '')
    return lasting(accessKey, secretKey.reveal(), undefined);
  if (config.profile === '') {
    const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: token } = variables;
    if (id && secret) return lasting(id, secret, token || undefined);
  }
  const profile = await readProfile(config, variables);
  const [id, secret] = [profile.get('aws_access_key_id'), profile.get('aws_secret_access_key')];
  if (id && secret) return lasting(id, secret, profile.get('aws_session_token'));
  if (config.profile !== '')
    throw new AppError('unavailable', `profile ${JSON.stringify(config.profile)} has no access key`);
  if (variables.AWS_WEB_IDENTITY_TOKEN_FILE && variables.AWS_ROLE_ARN)
    return assumeByToken(deps, region, signal);
  const container = containerUrl(variables);
  if (container !== undefined) return askContainer(container, deps, signal);
  return askInstanceRole(deps, signal).catch((caught: unknown) => {
    throw new AppError(
      'unavailable',
      'no credentials: set access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this pod, task or instance a role',
      { cause: caught },
    );
  });
}

function lasting(
  accessKeyId: string,
  secretAccessKey: string,
  sessionToken: string | undefined,
): AwsCredentials {
  return { accessKeyId, secretAccessKey, sessionToken, expiresAtMs: Number.POSITIVE_INFINITY };
}

/** Keys of the profile in the shared files; none when there are no files. */
async function readProfile(config: Ec2SdConfig, variables: Variables): Promise<Map<string, string>> {
  const profile = config.profile || variables.AWS_PROFILE || 'default';
  const home = variables.HOME || homedir();
  const files: readonly (readonly [file: string, section: string])[] = [
    [variables.AWS_CONFIG_FILE || path.join(home, '.aws/config'), `profile ${profile}`],
    [variables.AWS_SHARED_CREDENTIALS_FILE || path.join(home, '.aws/credentials'), profile],
  ];
  const keys = new Map<string, string>();
  for (const [file, section] of files) {
    const text = await readFile(file, 'utf8').catch(() => '');
    let current = '';
    for (const line of text.split('\n')) {
      const header = /^\s*\[\s*(.*?)\s*\]/.exec(line)?.[1];
      if (header !== undefined) current = header;
      const pair = /^\s*([a-z_]+)\s*=\s*(\S.*?)\s*$/.exec(line);
      if (pair !== null && (current === section || current === profile)) keys.set(pair[1]!, pair[2]!);
    }
  }
  return keys;
}

async function assumeRole(
  config: Ec2SdConfig,
  deps: AwsSourceDeps,
  own: AwsCredentials,
  region: string,
  signal: AbortSignal,
): Promise<AwsCredentials> {
  const answer = await callAws({
    ...{
      client: deps.client,
      url: awsEndpoint('sts', region, deps.variables),
      service: 'sts',
      region,
      signal,
    },
    credentials: own,
    timeMs: deps.clock.nowMs(),
    parameters: [
      ['Action', 'AssumeRole'],
      ['Version', STS_VERSION],
      ['RoleArn', config.roleArn],
      ['RoleSessionName', SESSION_NAME],
      ...(config.externalId === '' ? [] : [['ExternalId', config.externalId] as const]),
    ],
  });
  return fromSts(answer, 'AssumeRoleResult');
}

/** The role of a Kubernetes service account. */
async function assumeByToken(
  deps: AwsSourceDeps,
  region: string,
  signal: AbortSignal,
): Promise<AwsCredentials> {
  const { variables, client } = deps;
  const file = variables.AWS_WEB_IDENTITY_TOKEN_FILE!;
  const token = await readFile(file, 'utf8').catch((caught: unknown) => {
    throw new AppError('unavailable', `cannot read ${file} (AWS_WEB_IDENTITY_TOKEN_FILE)`, { cause: caught });
  });
  const answer = await callAws({
    ...{ client, url: awsEndpoint('sts', region, variables), service: 'sts', region, signal },
    credentials: undefined,
    timeMs: deps.clock.nowMs(),
    parameters: [
      ['Action', 'AssumeRoleWithWebIdentity'],
      ['Version', STS_VERSION],
      ['RoleArn', variables.AWS_ROLE_ARN!],
      ['RoleSessionName', variables.AWS_ROLE_SESSION_NAME || SESSION_NAME],
      ['WebIdentityToken', token.trim()],
    ],
  });
  return fromSts(answer, 'AssumeRoleWithWebIdentityResult');
}

function fromSts(answer: XmlElement, result: string): AwsCredentials {
  const read = (name: string): string => textAt(answer, result, 'Credentials', name) ?? '';
  return checked(read('AccessKeyId'), read('SecretAccessKey'), read('SessionToken'), read('Expiration'));
}

function containerUrl(variables: Variables): string | undefined {
  const relative = variables.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI;
  return relative ? CONTAINER_HOST + relative : variables.AWS_CONTAINER_CREDENTIALS_FULL_URI || undefined;
}

async function askContainer(url: string, deps: AwsSourceDeps, signal: AbortSignal): Promise<AwsCredentials> {
  const { AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file, AWS_CONTAINER_AUTHORIZATION_TOKEN: text } =
    deps.variables;
  const token = file ? (await readFile(file, 'utf8')).trim() : text;
  const headers = token ? { authorization: token } : {};
  const response = await deps.client.get(new URL(url), headers, signal);
  return fromJson(await readText(response, ANSWER_BYTES_MAX), url);
}

async function askInstanceRole(deps: AwsSourceDeps, signal: AbortSignal): Promise<AwsCredentials> {
  const folder = 'iam/security-credentials/';
  const role = (await askInstance(folder, deps, signal)).trim().split('\n')[0]!;
  return fromJson(await askInstance(folder + role, deps, signal), `the instance's role ${role}`);
}

/** Metadata of the instance that this process runs on, by the token that version 2 asks for. */
async function askInstance(name: string, deps: AwsSourceDeps, signal: AbortSignal): Promise<string> {
  const { client, variables } = deps;
  if (variables.AWS_EC2_METADATA_DISABLED?.toLowerCase() === 'true')
    throw new AppError('unavailable', 'the metadata of instances is not asked (AWS_EC2_METADATA_DISABLED)');
  const base = variables.AWS_EC2_METADATA_SERVICE_ENDPOINT || INSTANCE_HOST;
  const ends = AbortSignal.any([signal, AbortSignal.timeout(INSTANCE_TIMEOUT_MS)]);
  const at = (path: string): URL => new URL(path, base);
  const seconds = { 'x-aws-ec2-metadata-token-ttl-seconds': '60' };
  const token = await readText(await client.put(at('/latest/api/token'), seconds, ends), ANSWER_BYTES_MAX);
  const headers = { 'x-aws-ec2-metadata-token': token };
  const response = await client.get(at(`/latest/meta-data/${name}`), headers, ends);
  const text = await readText(response, ANSWER_BYTES_MAX);
  if (response.statusCode !== 200)
    throw new AppError('unavailable', `metadata ${name}: HTTP status ${response.statusCode}`);
  return text;
}

function fromJson(text: string, from: string): AwsCredentials {
  const answer = parseJsonObject(text);
  if (!isJsonObject(answer)) throw new AppError('unavailable', `${from}: the answer is not JSON`);
  const { AccessKeyId, SecretAccessKey, Token, Expiration } = answer;
  return checked(textOf(AccessKeyId), textOf(SecretAccessKey), textOf(Token), textOf(Expiration));
}

function checked(id: string, secret: string, token: string, expiration: string): AwsCredentials {
  const expiresAtMs = Date.parse(expiration);
  if (id === '' || secret === '') throw new AppError('unavailable', 'the answer holds no credentials');
  return {
    accessKeyId: id,
    secretAccessKey: secret,
    sessionToken: token === '' ? undefined : token,
    expiresAtMs: Number.isNaN(expiresAtMs) ? Number.POSITIVE_INFINITY : expiresAtMs,
  };
}
