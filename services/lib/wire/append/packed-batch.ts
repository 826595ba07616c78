// Codec of docs/packed-batch.md: an append batch of float samples in a quarter of the bytes, for writers whose ingester is
// another process. Times and values are packed once per write, partition by partition; each replica's batch is put together
// from the runs of bytes of its partitions, and only references are its own.
import { ByteReader, type ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { DELTA_BYTES_MAX, VALUE_CODE_BYTES_MAX } from '../../model/value-codes.ts';
import { WireKernel } from '../kernel/wire-kernel.ts';
import { type AppendBatch, BATCH_SAMPLES_MAX, decodeAppendBatch, visitDefinitions } from './append-batch.ts';
import type { BatchScratch } from './batch-scratch.ts';

const VERSION = 2;
const HEADER_BYTES = 40;
/** Times beyond it travel as columns, so that no difference of two passes 2^52. */
const TIME_MS_MAX = 2 ** 50;
const REFERENCE_MAX = 2 ** 32 - 1;
const SECTION_BYTES_MAX = 2 * 5;
/** Scratch for this many samples stays for the next batch. */
const CAPACITY_KEPT = 1 << 17;
const CAPACITY_MIN = 4096;
/** A varint is written as a word, whatever its length. */
const SLACK_BYTES = 8;

/** Samples of one write by partition, as the packer gets them. */
export interface SortedColumns {
  /** Samples of each partition. */
  readonly counts: Uint32Array;
  /** Position behind each partition's samples in the columns. */
  readonly ends: Uint32Array;
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** Times and values of one write as bytes, in a kernel's memory. Scratch: valid until the next `pack`. */
export class PackedColumns {
  #kernel: WireKernel | undefined;
  /** Samples that the memory has room for, and partitions. */
  #capacity = 0;
  #partitionCount = 0;
  /** Where its parts begin: columns of samples, columns of partitions, bytes. */
  #timesAt = 0;
  #valuesAt = 0;
  #referencesAt = 0;
  #endsAt = 0;
  #packedTimesAt = 0;
  #packedValuesAt = 0;
  #packedReferencesAt = 0;
  /** Behind each partition's bytes, counted from the first partition's. */
  #timeEnds = new Uint32Array(0);
  #valueEnds = new Uint32Array(0);
  #baseTimeMs = 0;

  /**
   * Packs all partitions.
   *
   * @returns False when a time is not a whole number of ms within ±2^50: the write then travels as columns.
   */
  pack(sorted: SortedColumns): boolean {
    const { counts, ends, timestampsMs, values } = sorted;
    const partitionCount = counts.length;
    const sampleCount = partitionCount === 0 ? 0 : ends[partitionCount - 1]!;
    const { exports, bytes } = this.#reserve(partitionCount, sampleCount);
    this.#baseTimeMs = sampleCount === 0 ? 0 : timestampsMs[0]!;
    new Uint32Array(bytes.buffer, this.#endsAt, partitionCount).set(ends);
    new Float64Array(bytes.buffer, this.#timesAt, sampleCount).set(timestampsMs.subarray(0, sampleCount));
    new Float64Array(bytes.buffer, this.#valuesAt, sampleCount).set(values.subarray(0, sampleCount));
    const timesEnd = exports.putTimes(
      ...([this.#timesAt, this.#endsAt, partitionCount, this.#baseTimeMs, TIME_MS_MAX] as const),
      ...([this.#packedTimesAt, this.#timeEnds.byteOffset] as const),
    );
    if (timesEnd === 0) return false;
    exports.putValues(
      ...([this.#valuesAt, this.#endsAt, partitionCount] as const),
      ...([this.#packedValuesAt, this.#valueEnds.byteOffset] as const),
    );
    return true;
  }

  /**
   * Appends a batch of some partitions to `dst`, which must be empty.
   *
   * @param partitions       Ascending; those without samples are not among them.
   * @param references       The first of them, as many as the partitions have samples, in their order.
   * @param definitionBytes  definitions[0, definitionBytes), as written by putDefinition.
   */
  putBatch(
    dst: ByteWriter,
    partitions: readonly number[],
    counts: Uint32Array,
    references: Uint32Array,
    definitionCount: number,
    definitions: Uint8Array,
    definitionBytes: number,
  ): void {
    const { exports, bytes } = this.#reserve(this.#partitionCount, 0);
    let sampleCount = 0;
    for (const partition of partitions) sampleCount += counts[partition]!;
    dst.reserve(HEADER_BYTES + partitions.length * SECTION_BYTES_MAX);
    dst.u32(VERSION);
    dst.u32(partitions.length);
    dst.u32(sampleCount);
    dst.u32(definitionCount);
    dst.u32(definitionBytes);
    dst.length += 12;
    dst.f64(this.#baseTimeMs);
    let previous = 0;
    for (const partition of partitions) {
      dst.varint(partition - previous);
      dst.varint(counts[partition]!);
      previous = partition;
    }
    const referencesAt = dst.length;
    new Uint32Array(bytes.buffer, this.#referencesAt, sampleCount).set(references.subarray(0, sampleCount));
    const packedEnd = exports.putReferences(this.#referencesAt, sampleCount, this.#packedReferencesAt);
    dst.raw(bytes, this.#packedReferencesAt, packedEnd);
    const timesAt = dst.length;
    putRuns(dst, partitions, bytes, this.#packedTimesAt, this.#timeEnds);
    const valuesAt = dst.length;
    putRuns(dst, partitions, bytes, this.#packedValuesAt, this.#valueEnds);
    dst.view.setUint32(20, timesAt - referencesAt, true);
    dst.view.setUint32(24, valuesAt - timesAt, true);
    dst.view.setUint32(28, dst.length - valuesAt, true);
    dst.raw(definitions, 0, definitionBytes);
  }

  /** The kernel, with room for so many; what a large write needed goes with the next small one. */
  #reserve(partitionCount: number, sampleCount: number): WireKernel {
    const isKept = this.#capacity >= sampleCount && (sampleCount === 0 || this.#capacity <= CAPACITY_KEPT);
    if (this.#kernel !== undefined && isKept && this.#partitionCount === partitionCount) return this.#kernel;
    const capacity = Math.max(sampleCount, CAPACITY_MIN);
    const kernel = new WireKernel(
      capacity * (8 + 8 + 4 + 2 * DELTA_BYTES_MAX + VALUE_CODE_BYTES_MAX) +
        partitionCount * 3 * 4 +
        4 * SLACK_BYTES,
    );
    this.#timesAt = kernel.room;
    this.#valuesAt = this.#timesAt + capacity * 8;
    this.#referencesAt = this.#valuesAt + capacity * 8;
    this.#endsAt = this.#referencesAt + capacity * 4;
    const timeEndsAt = this.#endsAt + partitionCount * 4;
    const valueEndsAt = timeEndsAt + partitionCount * 4;
    this.#packedTimesAt = valueEndsAt + partitionCount * 4;
    this.#packedReferencesAt = this.#packedTimesAt + capacity * DELTA_BYTES_MAX + SLACK_BYTES;
    this.#packedValuesAt = this.#packedReferencesAt + capacity * DELTA_BYTES_MAX + SLACK_BYTES;
    this.#timeEnds = new Uint32Array(kernel.bytes.buffer, timeEndsAt, partitionCount);
    this.#valueEnds = new Uint32Array(kernel.bytes.buffer, valueEndsAt, partitionCount);
    this.#capacity = capacity;
    this.#partitionCount = partitionCount;
    this.#kernel = kernel;
    return kernel;
  }
}

/** The bytes of some partitions, which begin at bytes[at], neighbours in one copy. */
function putRuns(
  dst: ByteWriter,
  partitions: readonly number[],
  bytes: Uint8Array,
  at: number,
  ends: Uint32Array,
): void {
  for (let i = 0; i < partitions.length; ) {
    const first = partitions[i]!;
    const start = first === 0 ? 0 : ends[first - 1]!;
    let end = ends[first]!;
    for (i++; i < partitions.length; i++) {
      // Partitions in between that have no samples have no bytes either.
      const next = partitions[i]!;
      if (ends[next - 1]! !== end) break;
      end = ends[next]!;
    }
    dst.raw(bytes, at + start, at + end);
  }
}

/**
 * Reads an append batch, packed or not.
 *
 * @param scratch  What a packed one is unpacked into: the batch's columns are views on it, valid until the next call.
 * @throws AppError `bad_data` when the batch breaks a rule of the format; nothing of it is to be used then.
 */
export function decodeBatch(bytes: Uint8Array, scratch: BatchScratch): AppendBatch {
  const reader = new ByteReader(bytes);
  if (reader.u32() !== VERSION) return decodeAppendBatch(bytes);
  const sectionCount = reader.u32();
  const sampleCount = reader.u32();
  const definitionCount = reader.u32();
  const definitionBytes = reader.u32();
  const [referenceBytes, timeBytes, valueBytes] = [reader.u32(), reader.u32(), reader.u32()];
  const baseTimeMs = reader.f64();
  checkSizes(bytes.length, sectionCount, sampleCount, referenceBytes, timeBytes, valueBytes);
  if (!(Math.abs(baseTimeMs) <= TIME_MS_MAX && Math.trunc(baseTimeMs) === baseTimeMs)) {
    throw new AppError('bad_data', `append batch: ${baseTimeMs} ms is no base time within ±2^50`);
  }
  const sectionPartitions = new Uint32Array(sectionCount);
  const sectionSamples = new Uint32Array(sectionCount);
  readSections(reader, sectionPartitions, sectionSamples, sampleCount);
  const referencesAt = reader.position;
  const valuesAt = referencesAt + referenceBytes + timeBytes;
  const definitionsAt = valuesAt + valueBytes;
  if (definitionsAt + definitionBytes !== bytes.length) {
    throw new AppError(
      'bad_data',
      `append batch has ${bytes.length} bytes, its header says ${definitionsAt + definitionBytes}`,
    );
  }
  const columns = { referenceBytes, timeBytes, valueBytes, baseTimeMs, counts: sectionSamples };
  scratch.unpack(bytes, referencesAt, columns, sampleCount, TIME_MS_MAX);
  const { references, timestampsMs, values, packedTimes } = scratch;
  return {
    sampleCount,
    sectionPartitions,
    sectionSamples,
    references: references.subarray(0, sampleCount),
    timestampsMs: timestampsMs.subarray(0, sampleCount),
    values: values.subarray(0, sampleCount),
    packedTimes,
    packedValues: bytes.subarray(valuesAt, definitionsAt),
    forEachDefinition: (visit) => visitDefinitions(bytes, definitionsAt, definitionCount, visit),
  };
}

/** Before anything is allocated: each sample has a byte in each column at least, and nine at most; each section two, and a sample. */
function checkSizes(
  batchBytes: number,
  sectionCount: number,
  sampleCount: number,
  referenceBytes: number,
  timeBytes: number,
  valueBytes: number,
): void {
  if (sampleCount > BATCH_SAMPLES_MAX) {
    throw new AppError('bad_data', `append batch of ${sampleCount} samples is over ${BATCH_SAMPLES_MAX}`);
  }
  if (sampleCount > Math.min(referenceBytes, timeBytes, valueBytes)) {
    throw new AppError(
      'bad_data',
      `append batch: ${sampleCount} samples do not fit ${referenceBytes}, ${timeBytes} and ${valueBytes} bytes`,
    );
  }
  const expected = HEADER_BYTES + sectionCount * 2 + referenceBytes + timeBytes + valueBytes;
  if (expected > batchBytes) {
    throw new AppError(
      'bad_data',
      `append batch has ${batchBytes} bytes, its header says ${expected} or more`,
    );
  }
  const longest = Math.max(referenceBytes, timeBytes, valueBytes);
  if (sectionCount > sampleCount || longest > sampleCount * VALUE_CODE_BYTES_MAX) {
    throw new AppError(
      'bad_data',
      `append batch: ${sectionCount} sections and a column of ${longest} bytes are more than ${sampleCount} samples have`,
    );
  }
}

function readSections(
  reader: ByteReader,
  partitions: Uint32Array,
  samples: Uint32Array,
  sampleCount: number,
): void {
  let partition = 0;
  let sum = 0;
  for (let i = 0; i < partitions.length; i++) {
    const step = reader.varint();
    partition += step;
    if ((i > 0 && step === 0) || partition > REFERENCE_MAX) {
      throw new AppError('bad_data', `append batch: partition ${partition} is out of order or range`);
    }
    const count = reader.varint();
    sum += count;
    if (sum > sampleCount) break;
    partitions[i] = partition;
    samples[i] = count;
  }
  if (sum !== sampleCount) {
    throw new AppError(
      'bad_data',
      `append batch: sections hold ${sum} samples, the header says ${sampleCount}`,
    );
  }
}
