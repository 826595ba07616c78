// One Append stream to one ingester, from its opening to its end: a writer id of its own, sequences from 1, and the short
// references under which series travel on it. A session is never repaired: when it fails, all that is in flight fails.
import { assert } from '../core/assert.ts';
import { ByteWriter } from '../core/bytes.ts';
import { AppError, toAppError } from '../core/errors.ts';
import type { Client } from '../transport/rpc.ts';
import { draftAppendBatch, putDefinition } from '../wire/append/append-batch.ts';
import { type ExtrasSection, encodeAppendExtras, putExtra } from '../wire/append/append-extras.ts';
import type { PackedColumns } from '../wire/append/packed-batch.ts';
import {
  AppendOutcome,
  type AppendRequest,
  type AppendResponse,
  type IngesterDefinition,
  type MetricMetadata,
} from '../wire/contracts.ts';
import type { WriteFence } from './appender.ts';
import type { ExtraSorter } from './extra-sorter.ts';
import { RequestQueue } from './request-queue.ts';
import type { SampleSorter } from './sample-sorter.ts';
import { PAGE_REFERENCES, type SeriesTable } from './series-table.ts';

export type IngesterClient = Client<typeof IngesterDefinition>;

/** What one request carries to one ingester. The sorter holds the samples of its write. */
export interface Shipment {
  readonly tenant: string;
  readonly epoch: number;
  /** Ascending. */
  readonly partitions: readonly number[];
  readonly metadata: readonly MetricMetadata[];
  /** Holds the extras of its write, sorted. */
  readonly extras: ExtraSorter;
  /** So that replicas know what they lack; undefined where there are none. */
  readonly number: WriteNumber | undefined;
  /** The lease under which the samples were made, if any. */
  readonly fence?: WriteFence | undefined;
}

/** Which of the distributor's writes this is (wire/docs/held-writes.md). */
export interface WriteNumber {
  readonly origin: string;
  readonly write: number;
  /** By partition of the shipment, as varints: writes since the one before that had samples of it. */
  readonly steps: Uint8Array<ArrayBuffer>;
}

/** How a request ended. `failed` are the partitions that were not kept; undefined means that all were. */
export type OnAnswer = (failed: ReadonlySet<number> | undefined, reason: string) => void;
/** @param isFenced  A later holder of the shipment's lease is known there: no other ingester needs to be asked. */
export type OnFailure = (reason: string, isFenced?: boolean) => void;

interface InFlight {
  readonly sentAtMs: number;
  readonly onAnswer: OnAnswer;
  readonly onFailure: OnFailure;
  /** References that were defined with this request. */
  readonly defined: readonly number[];
}

/** What a session tells its owner. */
export interface SessionEvents {
  /** An acknowledgement came: the ingester is well. */
  onAlive(): void;
  /** The session is over; what is in flight fails right after. `error` is undefined when it was ended by `retire`. */
  onEnd(session: IngesterSession, error: AppError | undefined): void;
}

/** One stream's life. */
export class IngesterSession {
  readonly writerId: string;
  readonly #table: SeriesTable;
  readonly #events: SessionEvents;
  readonly #queue = new RequestQueue<AppendRequest>();
  readonly #abort = new AbortController();
  readonly #inFlight = new Map<number, InFlight>();
  /** Wire reference + 1 by our reference, in pages as the series table's; 0 = not defined on this stream. */
  readonly #wirePages: (Uint32Array | undefined)[] = [];
  readonly #definitions = new ByteWriter(4096);
  readonly #extras = new ByteWriter(0);
  readonly #packs: boolean;
  readonly #batch = new ByteWriter(0);
  #wireReferences = new Uint32Array(4096);
  #nextWireReference = 0;
  #sequence = 0;
  #ended = false;

  /** @param packs  Whether batches travel as bytes, so that packing them pays. */
  constructor(
    writerId: string,
    table: SeriesTable,
    client: IngesterClient,
    packs: boolean,
    events: SessionEvents,
  ) {
    this.writerId = writerId;
    this.#table = table;
    this.#packs = packs;
    this.#events = events;
    void this.#run(client);
  }

  /** Wire references given out on this stream. They are never reused, so a long session with churn is retired one day. */
  get definitions(): number {
    return this.#nextWireReference;
  }

  /** When the oldest request that is not answered was sent, by the clock that `send` was given; undefined when none is. */
  get oldestSentAtMs(): number | undefined {
    for (const request of this.#inFlight.values()) return request.sentAtMs;
    return undefined;
  }

  /**
   * Encodes a shipment out of the sorter's columns and queues it.
   *
   * @returns Bytes of the batch and the extras.
   */
  send(
    shipment: Shipment,
    sorter: SampleSorter,
    nowMs: number,
    onAnswer: OnAnswer,
    onFailure: OnFailure,
  ): number {
    assert(!this.#ended, `session ${this.writerId} to be sent on is over`);
    const defined: number[] = [];
    const { partitions, extras: sorted } = shipment;
    const filled = sorted.extras === undefined ? partitions : partitions.filter((p) => sorter.counts[p]! > 0);
    const batch = this.#encode(filled, sorter, defined);
    const extras = sorted.extras === undefined ? undefined : this.#encodeExtras(partitions, sorted, defined);
    const sequence = ++this.#sequence;
    this.#inFlight.set(sequence, { sentAtMs: nowMs, onAnswer, onFailure, defined });
    this.#queue.push({
      tenant: shipment.tenant,
      writerId: this.writerId,
      sequence,
      epoch: shipment.epoch,
      batch,
      metadata: shipment.metadata as MetricMetadata[],
      extras,
      ...shipment.number,
      ...(shipment.fence !== undefined && {
        fence: shipment.fence.name,
        fenceToken: shipment.fence.token,
      }),
    });
    return batch.length + (extras?.length ?? 0);
  }

  /** Sends nothing more; the session ends when what is in flight is answered. */
  retire(): void {
    this.#queue.close();
  }

  /** Ends the session: all that is in flight fails with the error's message. */
  fail(error: AppError): void {
    if (this.#ended) return;
    this.#end(error);
    this.#abort.abort(error);
  }

  async #run(client: IngesterClient): Promise<void> {
    try {
      // Its owner holds the session before anything can end it.
      await Promise.resolve();
      for await (const response of client.append(this.#queue, { signal: this.#abort.signal })) {
        if (this.#ended) return;
        this.#settle(response);
      }
      const left = this.#inFlight.size;
      this.#end(
        left === 0
          ? undefined
          : new AppError('unavailable', `the stream ended with ${left} requests unanswered`),
      );
    } catch (caught) {
      this.#end(toAppError(caught));
    }
  }

  #end(error: AppError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue.discard();
    const reason = error?.message ?? 'the stream ended';
    const failed = [...this.#inFlight.values()];
    this.#inFlight.clear();
    this.#wirePages.length = 0;
    // The owner first: a failure may make room for a waiting writer, who must not be sent here any more.
    this.#events.onEnd(this, error);
    for (const request of failed) request.onFailure(reason);
  }

  #settle(response: AppendResponse): void {
    const request = this.#inFlight.get(response.sequence);
    if (request === undefined) {
      throw new AppError('internal', `an answer to sequence ${response.sequence}, which is not in flight`);
    }
    this.#inFlight.delete(response.sequence);
    if (response.outcome === AppendOutcome.APPEND_OUTCOME_DURABLE) {
      this.#events.onAlive();
      request.onAnswer(undefined, '');
      return;
    }
    // What the ingester did not keep may include the definitions: they travel again with the next use.
    for (const reference of request.defined) this.#undefine(reference);
    const reason = response.message === '' ? 'the ingester gave no reason' : response.message;
    if (response.outcome === AppendOutcome.APPEND_OUTCOME_PARTIAL) {
      this.#events.onAlive();
      request.onAnswer(new Set(response.failedPartitions), reason);
    } else if (response.outcome === AppendOutcome.APPEND_OUTCOME_FENCED) {
      this.#events.onAlive();
      request.onFailure(reason, true);
    } else {
      request.onFailure(reason);
    }
  }

  #undefine(reference: number): void {
    const page = this.#wirePages[reference >>> 12];
    if (page !== undefined) page[reference & (PAGE_REFERENCES - 1)] = 0;
  }

  #encode(partitions: readonly number[], sorter: SampleSorter, defined: number[]): Buffer<ArrayBuffer> {
    let sampleCount = 0;
    for (const partition of partitions) sampleCount += sorter.counts[partition]!;
    if (sampleCount === 0) return Buffer.alloc(0);
    if (this.#wireReferences.length < sampleCount) this.#wireReferences = new Uint32Array(sampleCount);
    this.#definitions.reset();
    let position = 0;
    const sections = partitions.map((partition) => {
      const samples = sorter.counts[partition]!;
      const end = sorter.ends[partition]!;
      position = this.#translate(sorter.references, end - samples, end, position, partition, defined);
      return { partition, samples };
    });
    const packed = this.#packs ? sorter.packed() : undefined;
    if (packed !== undefined) return this.#pack(packed, partitions, sorter, defined.length);
    const draft = draftAppendBatch(
      sections,
      sampleCount,
      defined.length,
      this.#definitions.bytes,
      this.#definitions.length,
    );
    draft.references.set(this.#wireReferences.subarray(0, sampleCount));
    copySections(partitions, sorter, draft.timestampsMs, draft.values);
    return draft.bytes;
  }

  /** The batch of what `#wireReferences` and `#definitions` hold. */
  #pack(
    packed: PackedColumns,
    partitions: readonly number[],
    sorter: SampleSorter,
    definitionCount: number,
  ): Buffer<ArrayBuffer> {
    const batch = this.#batch;
    batch.reset();
    const { bytes, length } = this.#definitions;
    packed.putBatch(batch, partitions, sorter.counts, this.#wireReferences, definitionCount, bytes, length);
    return Buffer.from(batch.take().buffer);
  }

  /** The extras of the partitions; undefined when they have none. */
  #encodeExtras(
    partitions: readonly number[],
    sorter: ExtraSorter,
    defined: number[],
  ): Buffer<ArrayBuffer> | undefined {
    const { extras, order, counts, ends } = sorter;
    const encoded = this.#extras;
    encoded.reset();
    this.#definitions.reset();
    const definedBefore = defined.length;
    const sections: ExtrasSection[] = [];
    for (const partition of partitions) {
      const count = counts[partition]!;
      if (count === 0) continue;
      const from = encoded.length;
      for (let at = ends[partition]! - count; at < ends[partition]!; at++) {
        const i = order[at]!;
        const reference = this.#wireReferenceOf(extras!.references[i]!, partition, defined);
        const { kinds, timestampsMs, bytes, starts } = extras!;
        putExtra(encoded, reference, kinds[i]!, timestampsMs[i]!, bytes, starts[i]!, extras!.ends[i]!);
      }
      sections.push({ partition, count, bytes: encoded.length - from });
    }
    if (sections.length === 0) return undefined;
    const out = new ByteWriter(encoded.length + this.#definitions.length + 64 + sections.length * 12);
    encodeAppendExtras(out, sections, defined.length - definedBefore, this.#definitions, encoded);
    return Buffer.from(out.bytes.buffer, 0, out.length);
  }

  #wireReferenceOf(reference: number, partition: number, defined: number[]): number {
    const stored = this.#wirePages[reference >>> 12]?.[reference & (PAGE_REFERENCES - 1)] ?? 0;
    if (stored !== 0) return stored - 1;
    defined.push(reference);
    return this.#define(reference, partition);
  }

  /** Hot! Our references [start, end) as wire references, behind `to`; defines those that are new to this stream. */
  #translate(
    references: Uint32Array,
    start: number,
    end: number,
    to: number,
    partition: number,
    defined: number[],
  ): number {
    const out = this.#wireReferences;
    let position = to;
    for (let i = start; i < end; i++) {
      const reference = references[i]!;
      const page = this.#wirePages[reference >>> 12];
      let stored = page === undefined ? 0 : page[reference & (PAGE_REFERENCES - 1)]!;
      if (stored === 0) {
        stored = this.#define(reference, partition) + 1;
        defined.push(reference);
      }
      out[position++] = stored - 1;
    }
    return position;
  }

  #define(reference: number, partition: number): number {
    const index = reference >>> 12;
    let page = this.#wirePages[index];
    if (page === undefined) {
      page = new Uint32Array(PAGE_REFERENCES);
      this.#wirePages[index] = page;
    }
    const wireReference = this.#nextWireReference++;
    page[reference & (PAGE_REFERENCES - 1)] = wireReference + 1;
    const labels = this.#table.labelsOf(reference);
    putDefinition(this.#definitions, wireReference, partition, labels.bytes, labels.start, labels.end);
    return wireReference;
  }
}

/** Copies the sections' timestamps and values, runs of neighbouring partitions in one go. */
function copySections(
  partitions: readonly number[],
  sorter: SampleSorter,
  timestampsMs: Float64Array,
  values: Float64Array,
): void {
  let position = 0;
  for (let i = 0; i < partitions.length; ) {
    const start = sorter.ends[partitions[i]!]! - sorter.counts[partitions[i]!]!;
    let end = sorter.ends[partitions[i]!]!;
    for (i++; i < partitions.length; i++) {
      const next = partitions[i]!;
      if (sorter.ends[next]! - sorter.counts[next]! !== end) break;
      end = sorter.ends[next]!;
    }
    timestampsMs.set(sorter.timestampsMs.subarray(start, end), position);
    values.set(sorter.values.subarray(start, end), position);
    position += end - start;
  }
}
