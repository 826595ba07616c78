// The client of the S3 API: over a real one, and over a server in between that fails, breaks off and lies.
import { mkdirSync, writeFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  BUCKET,
  hasS3Gateway,
  objectStoreOf,
  S3_ENVIRONMENT,
  startS3Gateway,
} from '../../../test/support/s3-gateway.ts';
import { freshFolder } from '../../../test/support/tidemark.ts';
import { parseListPage, renderCompleteUpload, xmlText } from './s3-xml.ts';

const signal = new AbortController().signal;
const right = { leftMs: () => 30_000 };
const SECRET = S3_ENVIRONMENT.AWS_SECRET_ACCESS_KEY;

/** A server that does something to the requests of its choice and passes on the rest. */
async function between(
  target: string,
  meddle: (request: IncomingMessage, response: ServerResponse, count: number) => boolean,
): Promise<{ flags: readonly string[]; seen: string[] }> {
  const seen: string[] = [];
  const { port } = new URL(target);
  const server = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (meddle(request, response, seen.length)) return;
    const onward = http.request(
      { host: '127.0.0.1', port, method: request.method, path: request.url, headers: request.headers },
      (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port: own } = server.address() as AddressInfo;
  return { seen, flags: [`--objstore.bucket=${BUCKET}`, `--objstore.endpoint=http://127.0.0.1:${own}`] };
}

const answer = (response: ServerResponse, status: number, code: string): true => {
  response.writeHead(status).end(`<Error><Code>${code}</Code><Message>said &amp; done</Message></Error>`);
  return true;
};

const nobody = 'http://127.0.0.1:1';

async function bytesOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

describe.skipIf(!hasS3Gateway())('over a real S3 API', () => {
  test('what is removed under a right has no effect after it, wherever it was held up', {
    timeout: 60_000,
  }, async () => {
    const gateway = await startS3Gateway();
    const direct = objectStoreOf(gateway);
    const isThere = async (key: string): Promise<boolean> =>
      (await Array.fromAsync(direct.list(key, signal))).length > 0;
    const held: (() => void)[] = [];
    const slow = await between(gateway.endpoint, (request, response) => {
      if (request.method !== 'DELETE') return false;
      held.push(() => {
        const onward = http.request(
          `${gateway.endpoint}${request.url}`,
          { method: 'DELETE', headers: request.headers },
          (answered) => {
            response.writeHead(answered.statusCode!, answered.headers);
            answered.pipe(response);
          },
        );
        onward.end();
      });
      return true;
    });
    const store = objectStoreOf(gateway, slow.flags);
    await expect(store.remove('x', right, signal)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(/has not told its time/),
    });
    await store.put('x', Buffer.from('1'), signal);
    // Within the right.
    const inTime = store.remove('x', { leftMs: () => 20_000 }, signal);
    await expect.poll(() => held.length).toBe(1);
    held.pop()!();
    await inTime;
    expect(await isThere('x')).toBe(false);
    // On its way for longer than the right lasts: the server refuses it.
    await store.put('x', Buffer.from('2'), signal);
    const late = store.remove('x', { leftMs: () => 2_500 }, signal);
    late.catch(() => undefined);
    await expect.poll(() => held.length).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    held.pop()!();
    await expect(late).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(/refused, it came too late/),
    });
    // Not sent at all.
    await expect(store.remove('x', { leftMs: () => 900 }, signal)).rejects.toMatchObject({
      code: 'failed_precondition',
    });
    expect(held).toEqual([]);
    expect(await isThere('x')).toBe(true);
  });

  test('objects of all sizes, whole and in part; what is not there', { timeout: 60_000 }, async () => {
    const store = objectStoreOf(await startS3Gateway());
    const folder = freshFolder();
    const file = path.join(folder, 'big');
    // More than two parts, and bytes that tell their place.
    const big = Buffer.alloc((16 << 20) + 123, 'ab');
    for (let at = 0; at < big.length; at += 4096) big.writeUInt32LE(at, Math.min(at, big.length - 4));
    writeFileSync(file, big);
    await store.put('small', Buffer.from('hello'), signal);
    await store.put('empty', new Uint8Array(), signal);
    const progress: number[] = [];
    await store.putFile(
      'a b/+ü&=%2F',
      { path: file, sizeBytes: big.length },
      (done) => void progress.push(done),
      signal,
    );
    expect(progress.at(-1)).toBe(big.length);
    expect(progress.length).toBe(3);
    expect(await store.digestOf('small', signal)).toEqual({ sizeBytes: 5, crc32: crc32('hello') });
    expect(await store.digestOf('empty', signal)).toEqual({ sizeBytes: 0, crc32: 0 });
    expect(await store.digestOf('a b/+ü&=%2F', signal)).toEqual({ sizeBytes: big.length, crc32: crc32(big) });
    const rest = await bytesOf(store.read('a b/+ü&=%2F', 9_000_001, big.length, signal));
    expect(rest.equals(big.subarray(9_000_001))).toBe(true);
    expect(await store.statOf('small', signal)).toEqual({ sizeBytes: 5, crc32: crc32('hello') });
    expect(Buffer.from(await store.getRange('small', 1, 3, signal)).toString()).toBe('el');
    const middle = await store.getRange('a b/+ü&=%2F', 8_388_000, 8_389_001, signal);
    expect(big.subarray(8_388_000, 8_389_001).equals(middle)).toBe(true);
    await expect(store.getRange('small', 2, 9, signal)).rejects.toMatchObject({
      code: 'bad_data',
      message: expect.stringContaining('small ends at byte 5, expected 9'),
    });
    await expect(store.getRange('small', 7, 9, signal)).rejects.toMatchObject({ code: 'bad_data' });
    await expect(store.getRange('absent', 0, 2, signal)).rejects.toMatchObject({ code: 'not_found' });
    await expect(store.statOf('absent', signal)).rejects.toMatchObject({ code: 'not_found' });
    await expect(store.get('small', 4, signal)).rejects.toMatchObject({ code: 'resource_exhausted' });
    const keys = async (prefix: string) =>
      (await Array.fromAsync(store.list(prefix, signal))).map(({ key, sizeBytes }) => `${key} ${sizeBytes}`);
    expect(await keys('')).toEqual([`a b/+ü&=%2F ${big.length}`, 'empty 0', 'small 5']);
    expect(await keys('sm')).toEqual(['small 5']);
    await store.remove('small', right, signal);
    await store.remove('small', right, signal);
    await expect(store.get('small', 10, signal)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('s3://blocks/test/cluster/small: 404 NoSuchKey'),
    });
  });

  test('a listing of several pages', { timeout: 60_000 }, async () => {
    const gateway = await startS3Gateway();
    const store = objectStoreOf(gateway);
    const count = 1_050;
    const names = Array.from({ length: count }, (_, i) => `x/${String(i).padStart(4, '0')}`);
    // The gateway shows the files of its folder as objects.
    const folder = path.join(gateway.bucketFolder, 'test/cluster/x');
    mkdirSync(folder, { recursive: true });
    for (const name of names) writeFileSync(path.join(folder, path.basename(name)), name);
    expect((await Array.fromAsync(store.list('x/', signal))).map(({ key }) => key)).toEqual(names);
  });

  test('busy servers and broken connections are tried again, a read from where it was', {
    timeout: 60_000,
  }, async () => {
    const gateway = await startS3Gateway();
    const bytes = Buffer.alloc(3 << 20, 'tide');
    let breaks = 0;
    const proxy = await between(gateway.endpoint, (request, response, count) => {
      if (count % 3 === 1) {
        request.resume().once('end', () => answer(response, 503, 'SlowDown'));
        return true;
      }
      if (count % 3 === 2) {
        response.destroy();
        return true;
      }
      if (request.method !== 'GET' || breaks >= 2) return false;
      // Some of the bytes, then nothing any more.
      breaks++;
      const [, from] = /bytes=(\d+)-/.exec(request.headers.range ?? '') ?? [];
      const start = Number(from);
      response.writeHead(206, { 'content-length': bytes.length - start });
      response.write(bytes.subarray(start, start + 100_000), () => response.destroy());
      return true;
    });
    const registry = new Registry();
    const store = objectStoreOf(proxy, [], S3_ENVIRONMENT, registry);
    await store.put('k', bytes, signal);
    expect((await bytesOf(store.read('k', 0, bytes.length, signal))).equals(bytes)).toBe(true);
    expect(breaks).toBe(2);
    const failures = await registry.getSingleMetric('tidemark_objstore_request_failures_total')!.get();
    expect(failures.values.map(({ labels }) => labels.result)).toEqual(['retried', 'retried']);
  });

  test('a range that breaks off, or comes from a server without ranges', { timeout: 60_000 }, async () => {
    const gateway = await startS3Gateway();
    const bytes = Buffer.alloc(400_000, 'range');
    const flags = [`--objstore.bucket=${BUCKET}`, `--objstore.endpoint=${gateway.endpoint}`];
    await objectStoreOf({ flags }).put('k', bytes, signal);
    let gets = 0;
    const breaking = await between(gateway.endpoint, (_request, response) => {
      if (++gets > 2) return false;
      response.writeHead(206, { 'content-length': 300_000 });
      response.write(bytes.subarray(0, 1_000), () => response.destroy());
      return true;
    });
    const got = await objectStoreOf(breaking).getRange('k', 50_000, 350_000, signal);
    expect(bytes.subarray(50_000, 350_000).equals(got)).toBe(true);
    expect(gets).toBe(3);
    const without = await between(gateway.endpoint, (_request, response) => {
      response.writeHead(200, { 'content-length': bytes.length });
      response.end(bytes);
      return true;
    });
    await expect(objectStoreOf(without).getRange('k', 5, 10, signal)).rejects.toMatchObject({
      code: 'bad_data',
      message: expect.stringContaining('status 200 where bytes 5 to 10 were asked for'),
    });
  });

  test('what was tampered with on its way is refused by the server', { timeout: 60_000 }, async () => {
    const gateway = await startS3Gateway();
    const proxy = await between(gateway.endpoint, (request, response) => {
      if (request.method !== 'PUT') return false;
      const { port } = new URL(gateway.endpoint);
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        const body = Buffer.concat(pieces);
        body[0]! ^= 1;
        http
          .request(
            {
              host: '127.0.0.1',
              port,
              method: 'PUT',
              path: request.url,
              headers: request.headers,
            },
            (answered) => {
              response.writeHead(answered.statusCode!);
              answered.pipe(response);
            },
          )
          .end(body);
      });
      return true;
    });
    const store = objectStoreOf({ flags: proxy.flags });
    await expect(store.put('k', Buffer.from('hello'), signal)).rejects.toThrow(
      /XAmzContentSHA256Mismatch|BadDigest|InvalidDigest/,
    );
    const direct = objectStoreOf({
      flags: [`--objstore.bucket=${BUCKET}`, `--objstore.endpoint=${gateway.endpoint}`],
    });
    await expect(direct.get('k', 10, signal)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('a wrong secret or bucket is said at once, with the remedy and without the secret', async () => {
    const gateway = await startS3Gateway();
    const wrong = { ...S3_ENVIRONMENT, AWS_SECRET_ACCESS_KEY: 'canary-wrong' };
    const failure = await objectStoreOf(gateway, [], wrong)
      .get('k', 1, signal)
      .catch((caught: Error) => caught);
    expect(failure).toMatchObject({
      code: 'bad_data',
      message: expect.stringMatching(/SignatureDoesNotMatch.*secret key is wrong/),
    });
    expect(`${JSON.stringify(failure)}${(failure as Error).stack}`).not.toMatch(/canary/);
    const flags = [
      ...gateway.flags.filter((flag) => !flag.includes('bucket=')),
      '--objstore.bucket=elsewhere',
    ];
    await expect(objectStoreOf({ flags }).get('k', 1, signal)).rejects.toMatchObject({
      code: 'bad_data',
      message: expect.stringMatching(/s3:\/\/elsewhere\/.*NoSuchBucket.*--objstore\.bucket/),
    });
  });

  test('credentials from files are read again when they change', async () => {
    const gateway = await startS3Gateway();
    const folder = freshFolder();
    const [access, secret] = [path.join(folder, 'access'), path.join(folder, 'secret')];
    const files = [`--objstore.access-key-file=${access}`, `--objstore.secret-key-file=${secret}`];
    writeFileSync(access, `${S3_ENVIRONMENT.AWS_ACCESS_KEY_ID}\n`);
    const store = objectStoreOf(gateway, files, {});
    await expect(store.put('k', Buffer.from('x'), signal)).rejects.toThrow(
      /flag --objstore\.secret-key-file: ENOENT/,
    );
    writeFileSync(secret, `${SECRET}\n`);
    await store.put('k', Buffer.from('x'), signal);
  });
});

test('a call that is cancelled ends at once, also while it waits to try again', async () => {
  const proxy = await between(nobody, (_, response) => answer(response, 503, 'SlowDown'));
  const cancelled = new AbortController();
  const call = objectStoreOf(proxy).get('k', 1, cancelled.signal);
  setTimeout(() => cancelled.abort(new Error('enough')), 100);
  await expect(call).rejects.toThrow('enough');
});

test('no credentials, and a refusal that no code explains', async () => {
  const proxy = await between(nobody, (_, response) => answer(response, 403, 'Whatever'));
  await expect(objectStoreOf(proxy, [], {}).get('k', 1, signal)).rejects.toThrow(
    /no credentials.*AWS_ACCESS_KEY_ID/,
  );
  expect(proxy.seen).toEqual([]);
  await expect(objectStoreOf(proxy).get('k', 1, signal)).rejects.toThrow(
    /403 Whatever said & done: the credentials lack/,
  );
  expect(proxy.seen).toHaveLength(1);
});

test('an answer that is no S3, or too long, is an error', async () => {
  const proxy = await between(nobody, (_, response) => {
    response.writeHead(200).end('<html>login</html>');
    return true;
  });
  await expect(Array.fromAsync(objectStoreOf(proxy).list('', signal))).rejects.toThrow(
    /is not S3: no ListBucketResult/,
  );
}, 60_000);

test.each<[string[], RegExp]>([
  [['--objstore.endpoint=http://a'], /give --objstore\.bucket as well/],
  [['--objstore.local-age=7d'], /local-age: give --objstore\.bucket as well/],
  [['--objstore.bucket=A_b'], /is not the name of a bucket/],
  [['--objstore.bucket=abc', '--objstore.endpoint=ftp://a'], /is not http\(s\):\/\/host:port/],
  [['--objstore.bucket=abc', '--objstore.endpoint=http://u:p@a'], /is not http/],
  [['--objstore.bucket=abc', '--objstore.prefix=a/../b'], /flag --objstore\.prefix/],
])('%j is refused', (flags, message) => {
  expect(() => objectStoreOf({ flags })).toThrow(message);
});

test('XML: entities, pages, what is not as expected', () => {
  const entry =
    '<Contents><Key>a&amp;b&#x41;&#66;</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;t&quot;</ETag><Size>7</Size></Contents>';
  const page = `<?xml version="1.0"?><ListBucketResult xmlns="x"><IsTruncated>true</IsTruncated><NextContinuationToken>n&lt;</NextContinuationToken>${entry}</ListBucketResult>`;
  expect(parseListPage(page)).toEqual({
    entries: [{ key: 'a&bAB', sizeBytes: 7, tag: '"t"', modifiedMs: Date.UTC(2026, 0, 2, 3, 4, 5) }],
    next: 'n<',
  });
  for (const damage of ['<Key>', '<Size>', '<LastModified>', '<NextContinuationToken>'])
    expect(() => parseListPage(page.replace(damage, '<x>'))).toThrow(/is not S3/);
  expect(xmlText('<x><a>1</a><a>2</a></x>', 'a')).toBe('1');
  expect(xmlText('<x><a>1', 'a')).toBeUndefined();
  expect(renderCompleteUpload(['"1"', 'a&b'])).toBe(
    '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
      '<Part><PartNumber>1</PartNumber><ETag>&quot;1&quot;</ETag></Part>' +
      '<Part><PartNumber>2</PartNumber><ETag>a&amp;b</ETag></Part></CompleteMultipartUpload>',
  );
});
