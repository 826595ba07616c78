// Codec of docs/packed-batch.md: an append batch of float samples in a quarter of the bytes, for writers whose ingester is
// another process. Times and values are packed once per write, partition by partition; each replica's batch is put together
// from the runs of bytes of its partitions, and only references are its own.
import { ByteReader, type ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import {
  DELTA_BYTES_MAX,
  putDeltas,
  putValueCodes,
  readDeltas,
  readValueCodes,
  VALUE_CODE_BYTES_MAX,
} from '../../model/value-codes.ts';
import { type AppendBatch, BATCH_SAMPLES_MAX, decodeAppendBatch, visitDefinitions } from './append-batch.ts';

const VERSION = 2;
const HEADER_BYTES = 40;
/** Times beyond it travel as columns, so that no difference of two passes 2^52. */
const TIME_MS_MAX = 2 ** 50;
const REFERENCE_MAX = 2 ** 32 - 1;
const SECTION_BYTES_MAX = 2 * 5;
/** Scratch for this many samples stays for the next batch. */
const CAPACITY_KEPT = 1 << 17;

/** Samples of one write by partition, as the packer gets them. */
export interface SortedColumns {
  /** Samples of each partition. */
  readonly counts: Uint32Array;
  /** Position behind each partition's samples in the columns. */
  readonly ends: Uint32Array;
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** Times and values of one write as bytes. Scratch: valid until the next `pack`. */
export class PackedColumns {
  #times = new Uint8Array(0);
  #values = new Uint8Array(0);
  /** Positions behind each partition's bytes. */
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
    if (!areWhole(timestampsMs, sampleCount)) return false;
    this.#resize(partitionCount, sampleCount);
    this.#baseTimeMs = sampleCount === 0 ? 0 : timestampsMs[0]!;
    let timesAt = 0;
    let valuesAt = 0;
    for (let partition = 0; partition < partitionCount; partition++) {
      const end = ends[partition]!;
      const start = end - counts[partition]!;
      timesAt = putDeltas(this.#times, timesAt, timestampsMs, start, end, this.#baseTimeMs);
      valuesAt = putValueCodes(this.#values, valuesAt, values, start, end);
      this.#timeEnds[partition] = timesAt;
      this.#valueEnds[partition] = valuesAt;
    }
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
    let sampleCount = 0;
    for (const partition of partitions) sampleCount += counts[partition]!;
    dst.reserve(HEADER_BYTES + partitions.length * SECTION_BYTES_MAX + sampleCount * DELTA_BYTES_MAX);
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
    dst.length = putDeltas(dst.bytes, referencesAt, references, 0, sampleCount, 0);
    const timesAt = dst.length;
    putRuns(dst, partitions, this.#times, this.#timeEnds);
    const valuesAt = dst.length;
    putRuns(dst, partitions, this.#values, this.#valueEnds);
    dst.view.setUint32(20, timesAt - referencesAt, true);
    dst.view.setUint32(24, valuesAt - timesAt, true);
    dst.view.setUint32(28, dst.length - valuesAt, true);
    dst.raw(definitions, 0, definitionBytes);
  }

  #resize(partitionCount: number, sampleCount: number): void {
    if (this.#timeEnds.length !== partitionCount) {
      this.#timeEnds = new Uint32Array(partitionCount);
      this.#valueEnds = new Uint32Array(partitionCount);
    }
    const capacity = this.#times.length / DELTA_BYTES_MAX;
    if (capacity >= sampleCount && capacity <= CAPACITY_KEPT) return;
    const wanted = Math.max(sampleCount, 4096);
    this.#times = new Uint8Array(wanted * DELTA_BYTES_MAX);
    this.#values = new Uint8Array(wanted * VALUE_CODE_BYTES_MAX);
  }
}

/** Hot! */
function areWhole(timestampsMs: Float64Array, count: number): boolean {
  for (let i = 0; i < count; i++) {
    const timeMs = timestampsMs[i]!;
    if (!(timeMs >= -TIME_MS_MAX && timeMs <= TIME_MS_MAX) || Math.trunc(timeMs) !== timeMs) return false;
  }
  return true;
}

/** The bytes of some partitions, neighbours in one copy. */
function putRuns(dst: ByteWriter, partitions: readonly number[], bytes: Uint8Array, ends: Uint32Array): void {
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
    dst.raw(bytes, start, end);
  }
}

/** Columns that batches are unpacked into, reused from batch to batch. */
export class BatchScratch {
  references = new Uint32Array(0);
  timestampsMs = new Float64Array(0);
  values = new Float64Array(0);

  resize(sampleCount: number): void {
    const capacity = this.references.length;
    if (capacity >= sampleCount && capacity <= CAPACITY_KEPT) return;
    const wanted = Math.max(sampleCount, 4096);
    this.references = new Uint32Array(wanted);
    this.timestampsMs = new Float64Array(wanted);
    this.values = new Float64Array(wanted);
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
  const timesAt = referencesAt + referenceBytes;
  const valuesAt = timesAt + timeBytes;
  const definitionsAt = valuesAt + valueBytes;
  if (definitionsAt + definitionBytes !== bytes.length) {
    throw new AppError(
      'bad_data',
      `append batch has ${bytes.length} bytes, its header says ${definitionsAt + definitionBytes}`,
    );
  }
  scratch.resize(sampleCount);
  const { references, timestampsMs, values } = scratch;
  expectEnd(
    readDeltas(bytes, referencesAt, timesAt, references, 0, sampleCount, 0, 0, REFERENCE_MAX),
    timesAt,
  );
  let position = timesAt;
  let sample = 0;
  for (const samples of sectionSamples) {
    const next = sample + samples;
    position = readDeltas(
      bytes,
      position,
      valuesAt,
      timestampsMs,
      sample,
      next,
      baseTimeMs,
      -TIME_MS_MAX,
      TIME_MS_MAX,
    );
    sample = next;
  }
  expectEnd(position, valuesAt);
  expectEnd(readValueCodes(bytes, valuesAt, definitionsAt, values, 0, sampleCount), definitionsAt);
  return {
    sampleCount,
    sectionPartitions,
    sectionSamples,
    references: references.subarray(0, sampleCount),
    timestampsMs: timestampsMs.subarray(0, sampleCount),
    values: values.subarray(0, sampleCount),
    packedValues: bytes.subarray(valuesAt, definitionsAt),
    forEachDefinition: (visit) => visitDefinitions(bytes, definitionsAt, definitionCount, visit),
  };
}

/** Before anything is allocated: each sample has a byte in each column at least, each section two. */
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

function expectEnd(position: number, end: number): void {
  if (position === end) return;
  throw new AppError('bad_data', `append batch: a column ends at ${position}, the header says ${end}`);
}
