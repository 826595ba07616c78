// The flags of object storage, and the store that they describe.
import type { Registry } from 'prom-client';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { FlagTable, FlagValues } from '../runtime/flags.ts';
import type { Logger } from '../runtime/logger.ts';
import type { ObjectStore } from './object-store.ts';
import { createObjstoreMetrics } from './objstore-metrics.ts';
import { createCredentials } from './s3-credentials.ts';
import { S3ObjectStore } from './s3-object-store.ts';
import { S3Requests } from './s3-requests.ts';

export const OBJSTORE_FLAGS = {
  'objstore.bucket': {
    type: 'string',
    default: '',
    desc: 'Bucket of an object storage with the S3 API that gets a copy of every block. Empty: none.',
  },
  'objstore.endpoint': {
    type: 'string',
    default: '',
    desc: 'URL of its API, like http://minio:9000. Default: AWS S3 in objstore.region.',
  },
  'objstore.region': { type: 'string', default: 'us-east-1', desc: 'Region of the bucket.' },
  'objstore.prefix': {
    type: 'string',
    default: '',
    desc: 'What all keys begin with, so that clusters can share a bucket. Default: cluster.name.',
  },
  'objstore.virtual-host': {
    type: 'boolean',
    default: false,
    desc: 'The bucket is part of the host name (bucket.host), not of the path.',
  },
  'objstore.access-key-file': {
    type: 'string',
    default: '',
    desc: 'File with the access key. Without the files: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.',
  },
  'objstore.secret-key-file': { type: 'string', default: '', desc: 'File with the secret key.' },
  'objstore.session-token-file': {
    type: 'string',
    default: '',
    desc: 'File with the session token of temporary credentials; all three are read again when they change.',
  },
  'objstore.list-interval': {
    type: 'duration',
    default: 300_000,
    desc: 'Between two listings of the bucket. What this process writes itself it knows at once.',
  },
  'objstore.delete-grace': {
    type: 'duration',
    default: 3_600_000,
    desc: 'How long a block stays in the bucket after merged or rewritten ones took its place, or its retention was over.',
  },
  'objstore.local-age': {
    type: 'duration',
    default: 0,
    desc: 'Blocks whose newest sample is older may leave the disk once the bucket has them, and are read from there. 0: none does.',
  },
  'objstore.cache-size': {
    type: 'bytes',
    default: 10 * 2 ** 30,
    desc: 'Bytes on the disk of chunks that are past objstore.local-age, fetched ones included; least recently used ones go first.',
  },
} as const satisfies FlagTable;

export type ObjstoreFlags = FlagValues<typeof OBJSTORE_FLAGS>;

/** Files above this go in parts, three in memory at a time; the hash of one holds up everything else for 10 ms. */
const PART_BYTES = 8 << 20;
const REQUESTS_MAX = 16;
/** With their back-off half a minute; what fails then is tried again by whoever asked. */
const ATTEMPTS_MAX = 6;

/**
 * The object store that the flags ask for; undefined when they name none. Nothing is asked of it yet.
 *
 * @param clusterName  Where no prefix is given.
 * @throws AppError `bad_data` when the flags make no sense together.
 */
export function openObjectStore(
  flags: ObjstoreFlags,
  clusterName: string,
  environment: Readonly<Record<string, string | undefined>>,
  deps: { readonly clock: Clock; readonly logger: Logger; readonly registry: Registry },
): ObjectStore | undefined {
  const bucket = flags['objstore.bucket'];
  if (bucket === '') {
    if (flags['objstore.endpoint'] !== '')
      throw new AppError('bad_data', 'flag --objstore.endpoint: give --objstore.bucket as well');
    if (flags['objstore.local-age'] > 0)
      throw new AppError('bad_data', 'flag --objstore.local-age: give --objstore.bucket as well');
    return undefined;
  }
  if (!/^[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]$/.test(bucket))
    throw new AppError(
      'bad_data',
      `flag --objstore.bucket: ${JSON.stringify(bucket)} is not the name of a bucket`,
    );
  const region = flags['objstore.region'];
  const endpoint = endpointOf(flags['objstore.endpoint'] || `https://s3.${region}.amazonaws.com`);
  if (endpoint.protocol === 'http:' && !/^(localhost|127\..*|\[::1\])$/.test(endpoint.hostname))
    deps.logger.warn(
      { endpoint: endpoint.href },
      'blocks travel to object storage in plaintext: give an https:// endpoint',
    );
  const files = {
    accessKeyFile: flags['objstore.access-key-file'],
    secretKeyFile: flags['objstore.secret-key-file'],
    sessionTokenFile: flags['objstore.session-token-file'],
  };
  const metrics = createObjstoreMetrics(deps.registry);
  const requests = new S3Requests(
    {
      ...{ endpoint: endpoint.origin, region, bucket, isVirtualHost: flags['objstore.virtual-host'] },
      ...{ requestsMax: REQUESTS_MAX, attemptsMax: ATTEMPTS_MAX },
    },
    { credentials: createCredentials(files, environment, deps), clock: deps.clock, metrics },
  );
  const prefix = prefixOf(flags['objstore.prefix'] || clusterName);
  return new S3ObjectStore({ bucket, prefix, partBytes: PART_BYTES }, { requests, metrics });
}

function endpointOf(text: string): URL {
  const url = URL.parse(text);
  const isPlain =
    url !== null && (url.pathname === '/' || url.pathname === '') && url.search === '' && url.username === '';
  if (isPlain && /^https?:$/.test(url.protocol)) return url;
  throw new AppError(
    'bad_data',
    `flag --objstore.endpoint: ${JSON.stringify(text)} is not http(s)://host:port`,
  );
}

function prefixOf(text: string): string {
  const parts = text.split('/').filter((part) => part !== '');
  if (parts.every((part) => /^[-A-Za-z0-9_.]{1,128}$/.test(part) && !/^\.+$/.test(part)))
    return parts.map((part) => `${part}/`).join('');
  throw new AppError(
    'bad_data',
    `flag --objstore.prefix: ${JSON.stringify(text)} may have letters, digits, - _ . and /`,
  );
}
