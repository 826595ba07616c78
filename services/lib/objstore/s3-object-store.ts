// An object store with the S3 API: AWS S3, MinIO, Ceph, and what speaks like them.
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { AppError, throwIfAborted } from '../core/errors.ts';
import type { ObjectDigest, ObjectEntry, ObjectStat, ObjectStore, RemovalRight } from './object-store.ts';
import type { ObjstoreMetrics } from './objstore-metrics.ts';
import { bodyOf, boundedBytes, boundedText, type S3Request, type S3Requests } from './s3-requests.ts';
import { parseListPage, renderCompleteUpload, xmlText } from './s3-xml.ts';

export interface S3ObjectStoreOptions {
  readonly bucket: string;
  /** Before every key; empty or ending with a slash. */
  readonly prefix: string;
  /** Files above this are sent in parts of it, 5 MiB at least; larger parts where 10,000 would not do. */
  readonly partBytes: number;
}

/** Parts that are in memory and on their way at one time. */
const PARTS_AT_ONCE = 3;
/** S3's own limit. */
const PARTS_MAX = 10_000;
const PAGE_BYTES_MAX = 4 << 20;
/** Times that a read goes on after a break without a byte in between. */
const BREAKS_MAX = 5;

export class S3ObjectStore implements ObjectStore {
  readonly name: string;
  readonly #options: S3ObjectStoreOptions;
  readonly #requests: S3Requests;
  readonly #metrics: ObjstoreMetrics;

  constructor(
    options: S3ObjectStoreOptions,
    deps: { readonly requests: S3Requests; readonly metrics: ObjstoreMetrics },
  ) {
    this.name = `s3://${options.bucket}/${options.prefix}`;
    this.#options = options;
    this.#requests = deps.requests;
    this.#metrics = deps.metrics;
  }

  async put(key: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const body = Uint8Array.from(bytes);
    const headers = { 'x-amz-checksum-crc32': base64Crc(crc32(body)) };
    await this.#send({ operation: 'put', method: 'PUT', key, headers, body }, signal, drain);
    this.#metrics.sent(body.length);
  }

  async putFile(
    key: string,
    { path, sizeBytes }: { readonly path: string; readonly sizeBytes: number },
    onProgress: (doneBytes: number) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void> {
    await using file = await open(path, 'r');
    const part = async (start: number, end: number): Promise<Uint8Array<ArrayBuffer>> => {
      const bytes = new Uint8Array(end - start);
      for (let at = 0; at < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, start + at);
        if (bytesRead === 0)
          throw new AppError('internal', `${path} ends at byte ${start + at}, expected ${sizeBytes}`);
        at += bytesRead;
      }
      return bytes;
    };
    if (sizeBytes <= this.#options.partBytes) {
      await this.put(key, await part(0, sizeBytes), signal);
      await onProgress(sizeBytes);
      return;
    }
    await this.#putParts(key, sizeBytes, part, onProgress, signal);
  }

  async statOf(key: string, signal: AbortSignal): Promise<ObjectStat> {
    const headers = { 'x-amz-checksum-mode': 'ENABLED' };
    const { sizeBytes, checksum } = await this.#send(
      { operation: 'head', method: 'HEAD', key, headers },
      signal,
      (answer) =>
        Promise.resolve({
          sizeBytes: Number(answer.headers.get('content-length') ?? Number.NaN),
          checksum: answer.headers.get('x-amz-checksum-crc32'),
        }),
    );
    // Of an object in parts some servers give the checksum of the parts' checksums: `…-3`.
    const isWhole = checksum !== null && /^[A-Za-z0-9+/]{6}==$/.test(checksum);
    return { sizeBytes, crc32: isWhole ? Buffer.from(checksum, 'base64').readUInt32BE() : undefined };
  }

  async digestOf(key: string, signal: AbortSignal): Promise<ObjectDigest> {
    const known = await this.statOf(key, signal);
    if (known.crc32 !== undefined) return { sizeBytes: known.sizeBytes, crc32: known.crc32 };
    let [bytes, crc] = [0, 0];
    for await (const piece of this.read(key, 0, known.sizeBytes, signal)) {
      bytes += piece.length;
      crc = crc32(piece, crc);
    }
    return { sizeBytes: bytes, crc32: crc };
  }

  async getRange(key: string, start: number, end: number, signal: AbortSignal): Promise<Uint8Array> {
    const headers = { range: `bytes=${start}-${end - 1}` };
    const bytes = await this.#send({ operation: 'get', method: 'GET', key, headers }, signal, (answer) => {
      // A server without ranges would give the beginning, and all of it.
      if (answer.status !== 206)
        throw new AppError(
          'bad_data',
          `object storage: ${this.name}${key}: status ${answer.status} where bytes ${start} to ${end} were asked for`,
        );
      return boundedBytes(answer, end - start);
    });
    this.#metrics.received(bytes.length);
    if (bytes.length < end - start)
      throw new AppError(
        'bad_data',
        `object storage: ${this.name}${key} ends at byte ${start + bytes.length}, expected ${end}`,
      );
    return bytes;
  }

  async get(key: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array> {
    const bytes = await this.#send({ operation: 'get', method: 'GET', key }, signal, (answer) =>
      boundedBytes(answer, bytesMax),
    );
    this.#metrics.received(bytes.length);
    return bytes;
  }

  async *read(
    key: string,
    start: number,
    sizeBytes: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    for (let [at, breaks] = [start, 0]; at < sizeBytes; ) {
      const headers = { range: `bytes=${at}-${sizeBytes - 1}` };
      const before = at;
      try {
        const answer = await this.#send(
          { operation: 'get', method: 'GET', key, headers },
          signal,
          async (response) => {
            // A server without ranges would give the beginning again.
            if (response.status !== 206 && at > 0)
              throw new AppError(
                'bad_data',
                `object storage: ${this.name}${key} cannot be read from byte ${at} on`,
              );
            return response;
          },
        );
        for await (const piece of bodyOf(answer)) {
          throwIfAborted(signal);
          at += piece.length;
          if (at > sizeBytes)
            throw new AppError(
              'bad_data',
              `object storage: ${this.name}${key} is longer than ${sizeBytes} bytes`,
            );
          this.#metrics.received(piece.length);
          yield piece;
        }
      } catch (caught) {
        throwIfAborted(signal);
        const isBreak = !(caught instanceof AppError) || caught.code === 'timeout';
        if (!isBreak) throw caught;
      }
      if (at === before && ++breaks >= BREAKS_MAX)
        throw new AppError(
          'unavailable',
          `object storage: ${this.name}${key} ends at byte ${at} of ${sizeBytes}, again and again`,
        );
      if (at > before) breaks = 0;
    }
  }

  async *list(prefix: string, signal: AbortSignal): AsyncGenerator<ObjectEntry> {
    const whole = this.#options.prefix + prefix;
    let token: string | undefined;
    do {
      const query = {
        ...{ 'list-type': '2', prefix: whole, 'max-keys': '1000' },
        ...(token !== undefined && { 'continuation-token': token }),
      };
      const xml = await this.#requests.send(
        { operation: 'list', method: 'GET', key: '', query },
        signal,
        (answer) => boundedText(answer, PAGE_BYTES_MAX),
      );
      const page = parseListPage(xml);
      for (const entry of page.entries) yield { ...entry, key: entry.key.slice(this.#options.prefix.length) };
      token = page.next;
    } while (token !== undefined);
  }

  async remove(key: string, right: RemovalRight, signal: AbortSignal): Promise<void> {
    try {
      await this.#send({ operation: 'delete', method: 'DELETE', key, right }, signal, drain);
    } catch (caught) {
      if (!(caught instanceof AppError) || caught.code !== 'not_found') throw caught;
    }
  }

  /** Sends the parts, a few at a time. What was begun and not finished is given up, so that nobody pays for it. */
  async #putParts(
    key: string,
    sizeBytes: number,
    part: (start: number, end: number) => Promise<Uint8Array<ArrayBuffer>>,
    onProgress: (doneBytes: number) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void> {
    const partBytes = Math.max(this.#options.partBytes, Math.ceil(sizeBytes / PARTS_MAX));
    const uploadId = await this.#beginParts(key, signal);
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const tags: string[] = [];
    let [next, done] = [0, 0];
    const work = async (): Promise<void> => {
      for (let i = next++; i * partBytes < sizeBytes; i = next++) {
        const body = await part(i * partBytes, Math.min(sizeBytes, (i + 1) * partBytes));
        const query = { partNumber: String(i + 1), uploadId };
        const request: S3Request = { operation: 'multipart', method: 'PUT', key, query, body };
        tags[i] = await this.#send(request, either, (answer) => tagOf(answer, key));
        this.#metrics.sent(body.length);
        done += body.length;
        await onProgress(done);
      }
    };
    try {
      await Promise.all(
        Array.from({ length: PARTS_AT_ONCE }, () =>
          work().catch((caught: unknown) => {
            failed.abort(caught);
            throw caught;
          }),
        ),
      );
      await this.#completeParts(key, uploadId, tags, signal);
    } catch (caught) {
      const request: S3Request = { operation: 'multipart', method: 'DELETE', key, query: { uploadId } };
      await this.#send(request, AbortSignal.timeout(10_000), drain).catch(() => undefined);
      throw caught;
    }
  }

  async #beginParts(key: string, signal: AbortSignal): Promise<string> {
    const request: S3Request = { operation: 'multipart', method: 'POST', key, query: { uploads: '' } };
    const xml = await this.#send(request, signal, (answer) => boundedText(answer, PAGE_BYTES_MAX));
    const uploadId = xmlText(xml, 'UploadId');
    if (uploadId === undefined)
      throw new AppError('unavailable', `object storage: ${this.name}${key}: no upload id in the answer`);
    return uploadId;
  }

  async #completeParts(
    key: string,
    uploadId: string,
    tags: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const body = Uint8Array.from(Buffer.from(renderCompleteUpload(tags)));
    const request: S3Request = { operation: 'multipart', method: 'POST', key, query: { uploadId }, body };
    const xml = await this.#send(request, signal, (answer) => boundedText(answer, PAGE_BYTES_MAX));
    // S3 begins to answer before it knows: an error may stand in an answer with status 200.
    if (xml.includes('<Error>'))
      throw new AppError(
        'unavailable',
        `object storage: ${this.name}${key}: ${xmlText(xml, 'Code')} ${xmlText(xml, 'Message')}`,
      );
  }

  #send<T>(request: S3Request, signal: AbortSignal, read: (answer: Response) => Promise<T>): Promise<T> {
    return this.#requests.send({ ...request, key: this.#options.prefix + request.key }, signal, read);
  }
}

function tagOf(answer: Response, key: string): Promise<string> {
  const tag = answer.headers.get('etag');
  if (tag === null) throw new AppError('unavailable', `object storage: ${key}: a part without a tag`);
  return drain(answer).then(() => tag);
}

/** The connection can be used again once the body was read. */
async function drain(answer: Response): Promise<void> {
  await boundedBytes(answer, PAGE_BYTES_MAX);
}

function base64Crc(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc >>> 0);
  return bytes.toString('base64');
}
