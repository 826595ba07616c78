// Decodes a tenant's remote write requests of both versions into columns. remote-write-v1.ts and remote-write-v2.ts walk the
// bytes; what lives from request to request is in remote-write-context.ts.
import type { RemoteWriteColumns } from './remote-write-columns.ts';
import {
  type DecodedWrite,
  RemoteWriteContext,
  type RemoteWriteDecoderOptions,
  type SeriesResolver,
} from './remote-write-context.ts';
import { decodeRequestV1 } from './remote-write-v1.ts';
import { decodeRequestV2 } from './remote-write-v2.ts';

/** Protocol version of a request's body: prometheus.WriteRequest or io.prometheus.write.v2.Request. */
export type RemoteWriteVersion = 1 | 2;

/** Decodes the requests of one tenant, one at a time. */
export class RemoteWriteDecoder {
  readonly #context: RemoteWriteContext;

  constructor(options: RemoteWriteDecoderOptions, deps: { readonly resolver: SeriesResolver }) {
    this.#context = new RemoteWriteContext(options, deps);
  }

  /** Bytes that the series cache holds, for a metric. */
  get cacheBytes(): number {
    return this.#context.cache.memoryBytes + this.#context.remembered.memoryBytes;
  }

  /**
   * Decompresses a snappy block and decodes it as `decode` does.
   *
   * @param block  Its declared length is one that the caller accepts. Read only, not retained.
   */
  decodeSnappy(
    version: RemoteWriteVersion,
    block: Uint8Array,
    columns: RemoteWriteColumns,
    nowMs: number,
  ): DecodedWrite {
    this.#context.maintain(nowMs);
    const bytes = this.#context.remembered.decompress(block);
    return this.#walk(version, bytes, bytes.length, columns);
  }

  /**
   * Decodes bytes[0, length) into `columns`, which are emptied first.
   *
   * @param bytes  Decompressed request. Read only, not retained.
   * @throws AppError `bad_data` with the offset when the request is malformed, `resource_exhausted` when it holds more than
   *         one request may, `unavailable` from the resolver. Nothing of the request is to be used then.
   *
   * Cost: O(length); no allocation for series that are in the cache.
   */
  decode(
    version: RemoteWriteVersion,
    bytes: Uint8Array,
    length: number,
    columns: RemoteWriteColumns,
    nowMs: number,
  ): DecodedWrite {
    this.#context.maintain(nowMs);
    return this.#walk(version, bytes, length, columns);
  }

  #walk(
    version: RemoteWriteVersion,
    bytes: Uint8Array,
    length: number,
    columns: RemoteWriteColumns,
  ): DecodedWrite {
    columns.clear();
    const decoded: DecodedWrite = {
      samples: 0,
      histograms: 0,
      exemplars: 0,
      series: 0,
      refusedSamples: 0,
      refusedHistograms: 0,
      refusedExemplars: 0,
      refusedSeries: 0,
      overQuota: false,
      firstRefusal: undefined,
      metadata: [],
    };
    if (version === 1) decodeRequestV1(this.#context, bytes, length, columns, decoded);
    else decodeRequestV2(this.#context, bytes, length, columns, decoded);
    return decoded;
  }

  /** Forgets all references, after a write said that one is no longer known; the same request may be decoded again then. */
  forgetSeries(): void {
    this.#context.forgetSeries();
  }

  /** Makes all metadata and start times news again, after a write failed that may have carried some. */
  forgetNews(): void {
    this.#context.forgetNews();
  }
}
