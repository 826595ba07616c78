// Codec of docs/append-batch.md: the columns that a writer sends to an ingester.
import { ByteReader, type ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';

const VERSION = 1;
const HEADER_BYTES = 24;
/** Most samples in a batch; bounds what a receiver allocates. */
export const BATCH_SAMPLES_MAX = 1 << 20;

/** A decoded batch: views on the received bytes where these are aligned. */
export interface AppendBatch {
  readonly sampleCount: number;
  /** Uint32Array[sections], strictly ascending. */
  readonly sectionPartitions: Uint32Array;
  /** Uint32Array[sections]; sums up to sampleCount. */
  readonly sectionSamples: Uint32Array;
  /** Uint32Array[sampleCount]: the writer's series references. */
  readonly references: Uint32Array;
  /** Float64Array[sampleCount], Unix milliseconds. */
  readonly timestampsMs: Float64Array;
  /** Float64Array[sampleCount]. */
  readonly values: Float64Array;
  /** The times as putDeltas writes them from 0 on, in the same order, where they came packed. They are whole numbers within ±2^50 then. */
  readonly packedTimes?: Uint8Array;
  /** The values as putValueCodes writes them, in the same order, where they came so. */
  readonly packedValues?: Uint8Array;
  /** Calls back for each definition; label bytes are in bytes[start, end), valid as long as the batch. */
  forEachDefinition(visit: DefinitionVisitor): void;
}

/** Called for each definition of a batch. */
export type DefinitionVisitor = (
  reference: number,
  partition: number,
  bytes: Uint8Array,
  start: number,
  end: number,
) => void;

/**
 * Appends one encoded batch to `dst`, which must be empty.
 *
 * @param columns      Samples grouped by section; the first `sampleCount` of each column are used.
 * @param definitions  Already encoded, as written by putDefinition.
 */
export function encodeAppendBatch(
  dst: ByteWriter,
  columns: {
    readonly sampleCount: number;
    readonly sectionPartitions: Uint32Array;
    readonly sectionSamples: Uint32Array;
    readonly references: Uint32Array;
    readonly timestampsMs: Float64Array;
    readonly values: Float64Array;
  },
  definitionCount: number,
  definitions: Uint8Array,
): void {
  const { sampleCount, sectionPartitions, sectionSamples } = columns;
  dst.reserve(HEADER_BYTES + sectionPartitions.length * 8 + sampleCount * 20 + 8 + definitions.length);
  dst.u32(VERSION);
  dst.u32(sectionPartitions.length);
  dst.u32(sampleCount);
  dst.u32(definitionCount);
  dst.u32(definitions.length);
  dst.u32(0);
  for (let i = 0; i < sectionPartitions.length; i++) {
    dst.u32(sectionPartitions[i]!);
    dst.u32(sectionSamples[i]!);
  }
  putColumn(dst, columns.references, sampleCount * 4);
  dst.align(8);
  putColumn(dst, columns.timestampsMs, sampleCount * 8);
  putColumn(dst, columns.values, sampleCount * 8);
  dst.raw(definitions);
}

function putColumn(dst: ByteWriter, column: Uint32Array | Float64Array, byteCount: number): void {
  dst.raw(new Uint8Array(column.buffer, column.byteOffset, byteCount));
}

/** Samples that a batch says it has, of either version; 0 for an empty one. Only for counting: nothing is checked. */
export function samplesOfBatch(bytes: Uint8Array): number {
  return bytes.length < HEADER_BYTES ? 0 : new ByteReader(bytes, 8).u32();
}

/** A batch whose columns are still to be filled in. */
export interface AppendBatchDraft {
  /** The whole batch. */
  readonly bytes: Buffer<ArrayBuffer>;
  /** Views on `bytes`, each sampleCount long; their contents are undefined until they are written. */
  readonly references: Uint32Array<ArrayBuffer>;
  readonly timestampsMs: Float64Array<ArrayBuffer>;
  readonly values: Float64Array<ArrayBuffer>;
}

/**
 * Makes a batch of its final size, with everything but the columns in place: for writers that sort samples straight into it.
 *
 * @param sections         Partition and samples of each section, ascending by partition.
 * @param definitionBytes  definitions[0, definitionBytes), as written by putDefinition.
 */
export function draftAppendBatch(
  sections: readonly { readonly partition: number; readonly samples: number }[],
  sampleCount: number,
  definitionCount: number,
  definitions: Uint8Array,
  definitionBytes: number,
): AppendBatchDraft {
  const columnsAt = HEADER_BYTES + sections.length * 8;
  const timestampsAt = columnsAt + Math.ceil(sampleCount / 2) * 8;
  const valuesAt = timestampsAt + sampleCount * 8;
  const definitionsAt = valuesAt + sampleCount * 8;
  const bytes = Buffer.allocUnsafeSlow(definitionsAt + definitionBytes);
  const words = new Uint32Array(bytes.buffer, 0, timestampsAt / 4);
  words[0] = VERSION;
  words[1] = sections.length;
  words[2] = sampleCount;
  words[3] = definitionCount;
  words[4] = definitionBytes;
  words[5] = 0;
  for (let i = 0; i < sections.length; i++) {
    words[6 + 2 * i] = sections[i]!.partition;
    words[7 + 2 * i] = sections[i]!.samples;
  }
  // The padding behind an odd number of references, when there is some.
  if (sampleCount > 0) words[words.length - 1] = 0;
  bytes.set(definitions.subarray(0, definitionBytes), definitionsAt);
  return {
    bytes,
    references: new Uint32Array(bytes.buffer, columnsAt, sampleCount),
    timestampsMs: new Float64Array(bytes.buffer, timestampsAt, sampleCount),
    values: new Float64Array(bytes.buffer, valuesAt, sampleCount),
  };
}

/** Appends one definition to a definitions buffer. */
export function putDefinition(
  dst: ByteWriter,
  reference: number,
  partition: number,
  labels: Uint8Array,
  start: number,
  end: number,
): void {
  dst.u32(reference);
  dst.u32(partition);
  dst.varint(end - start);
  dst.raw(labels, start, end);
}

/**
 * Reads a batch. Columns are views on `bytes`, or copies where it is not aligned to 8 bytes.
 *
 * @throws AppError `bad_data` when the batch breaks a rule of the format; nothing of it is to be used then.
 */
export function decodeAppendBatch(bytes: Uint8Array): AppendBatch {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : copyOf(bytes);
  const reader = new ByteReader(aligned);
  const version = reader.u32();
  if (version !== VERSION) throw new AppError('bad_data', `append batch of unknown version ${version}`);
  const sectionCount = reader.u32();
  const sampleCount = reader.u32();
  const definitionCount = reader.u32();
  const definitionBytes = reader.u32();
  reader.u32();
  if (sampleCount > BATCH_SAMPLES_MAX) {
    throw new AppError('bad_data', `append batch of ${sampleCount} samples is over ${BATCH_SAMPLES_MAX}`);
  }
  const expected =
    HEADER_BYTES + sectionCount * 8 + Math.ceil(sampleCount / 2) * 8 + sampleCount * 16 + definitionBytes;
  if (aligned.length !== expected) {
    throw new AppError('bad_data', `append batch has ${aligned.length} bytes, its header says ${expected}`);
  }
  const sectionPartitions = new Uint32Array(sectionCount);
  const sectionSamples = new Uint32Array(sectionCount);
  let sum = 0;
  for (let i = 0; i < sectionCount; i++) {
    sectionPartitions[i] = reader.u32();
    sectionSamples[i] = reader.u32();
    sum += sectionSamples[i]!;
    if (i > 0 && sectionPartitions[i]! <= sectionPartitions[i - 1]!) {
      throw new AppError('bad_data', `append batch: partition ${sectionPartitions[i]} is out of order`);
    }
  }
  if (sum !== sampleCount) {
    throw new AppError(
      'bad_data',
      `append batch: sections hold ${sum} samples, the header says ${sampleCount}`,
    );
  }
  const base = aligned.byteOffset;
  const references = new Uint32Array(aligned.buffer, base + reader.position, sampleCount);
  reader.raw(sampleCount * 4);
  reader.align(8);
  const timestampsMs = new Float64Array(aligned.buffer, base + reader.position, sampleCount);
  reader.raw(sampleCount * 8);
  const values = new Float64Array(aligned.buffer, base + reader.position, sampleCount);
  reader.raw(sampleCount * 8);
  const definitionsAt = reader.position;
  return {
    sampleCount,
    sectionPartitions,
    sectionSamples,
    references,
    timestampsMs,
    values,
    forEachDefinition: (visit) => visitDefinitions(aligned, definitionsAt, definitionCount, visit),
  };
}

/** Walks the definitions of a batch, which begin at `at`. */
export function visitDefinitions(
  bytes: Uint8Array,
  at: number,
  count: number,
  visit: DefinitionVisitor,
): void {
  const definitions = new ByteReader(bytes, at);
  for (let i = 0; i < count; i++) {
    const reference = definitions.u32();
    const partition = definitions.u32();
    const labelBytes = definitions.varint();
    const start = definitions.position;
    definitions.skip(labelBytes);
    visit(reference, partition, bytes, start, start + labelBytes);
  }
}

/** An aligned copy. (Buffer's own `slice` is a view, and its species a piece of a pool.) */
function copyOf(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}
