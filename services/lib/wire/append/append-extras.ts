// Codec of docs/append-extras.md: histograms, start timestamps and exemplars of one append request, by partition.
import { ByteReader, type ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import {
  EXTRA_BYTES_MAX,
  EXTRA_EXEMPLAR,
  EXTRA_HISTOGRAM,
  type ExtraColumns,
} from '../../model/extra-columns.ts';
import { type DefinitionVisitor, visitDefinitions } from './append-batch.ts';

const VERSION = 1;
const HEADER_BYTES = 20;
const SECTION_BYTES = 12;
/** Bytes of an extra besides its content: reference, kind, time, length. */
const EXTRA_HEAD_BYTES_MIN = 11;
/** Most extras of a request; bounds what a receiver allocates. */
export const EXTRAS_MAX = 1 << 20;
/** Most bytes of a request's extras: a record of the log has room for them. */
export const EXTRAS_BYTES_MAX = 32 << 20;

/** Extras of one partition. */
export interface ExtrasSection {
  readonly partition: number;
  readonly count: number;
  /** Bytes of them, as putExtra wrote them. */
  readonly bytes: number;
}

/** Appends one extra to those of its section, with its content in bytes[start, end). */
export function putExtra(
  dst: ByteWriter,
  reference: number,
  kind: number,
  timestampMs: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  dst.varint(reference);
  dst.u8(kind);
  dst.f64(timestampMs);
  dst.varint(end - start);
  dst.raw(bytes, start, end);
}

/**
 * Appends the extras of a request to `dst`.
 *
 * @param sections     Ascending by partition, none empty.
 * @param definitions  As putDefinition wrote them (append-batch.ts): of references that neither an earlier request nor this one's
 *                     batch defined.
 * @param extras       Those of all sections, in their order.
 */
export function encodeAppendExtras(
  dst: ByteWriter,
  sections: readonly ExtrasSection[],
  definitionCount: number,
  definitions: ByteWriter,
  extras: ByteWriter,
): void {
  dst.u32(VERSION);
  dst.u32(sections.length);
  dst.u32(definitionCount);
  dst.u32(definitions.length);
  dst.u32(extras.length);
  for (const { partition, count, bytes } of sections) {
    dst.u32(partition);
    dst.u32(count);
    dst.u32(bytes);
  }
  dst.raw(definitions.bytes, 0, definitions.length);
  dst.raw(extras.bytes, 0, extras.length);
}

/** The extras of a request: a view on the received bytes. */
export interface AppendExtras {
  readonly sections: readonly ExtrasSection[];
  forEachDefinition(visit: DefinitionVisitor): void;
  /**
   * Adds the extras of a section to `into`, references as the writer's; contents are copied, not looked into.
   *
   * @throws AppError `bad_data` when they are not what the section says.
   */
  readSection(section: number, into: ExtraColumns): void;
}

/** @throws AppError `bad_data` when the bytes break a rule of the format; nothing of them is to be used then. */
export function decodeAppendExtras(bytes: Uint8Array): AppendExtras {
  const reader = new ByteReader(bytes);
  const version = reader.u32();
  if (version !== VERSION) throw new AppError('bad_data', `append extras of unknown version ${version}`);
  const sectionCount = reader.u32();
  const definitionCount = reader.u32();
  const definitionBytes = reader.u32();
  const extraBytes = reader.u32();
  const definitionsAt = HEADER_BYTES + sectionCount * SECTION_BYTES;
  const extrasAt = definitionsAt + definitionBytes;
  if (extrasAt + extraBytes !== bytes.length || extraBytes > EXTRAS_BYTES_MAX) {
    throw new AppError(
      'bad_data',
      `append extras have ${bytes.length} bytes, their header says ${extrasAt + extraBytes} (at most ${EXTRAS_BYTES_MAX} of extras)`,
    );
  }
  const sections = readSections(reader, sectionCount, extraBytes);
  const definitions = bytes.subarray(0, extrasAt);
  return {
    sections,
    forEachDefinition: (visit) => visitDefinitions(definitions, definitionsAt, definitionCount, visit),
    readSection(section, into) {
      let start = extrasAt;
      for (let i = 0; i < section; i++) start += sections[i]!.bytes;
      const { count, bytes: length } = sections[section]!;
      const extras = new ByteReader(bytes, start, start + length);
      for (let left = count; left > 0; left--) readExtra(extras, into);
      if (extras.remaining === 0) return;
      throw new AppError('bad_data', `append extras: ${extras.remaining} bytes behind those of a section`);
    },
  };
}

function readSections(reader: ByteReader, sectionCount: number, extraBytes: number): ExtrasSection[] {
  const sections: ExtrasSection[] = [];
  let bytesSum = 0;
  let countSum = 0;
  for (let i = 0; i < sectionCount; i++) {
    const section = { partition: reader.u32(), count: reader.u32(), bytes: reader.u32() };
    if (i > 0 && section.partition <= sections[i - 1]!.partition) {
      throw new AppError('bad_data', `append extras: partition ${section.partition} is out of order`);
    }
    bytesSum += section.bytes;
    countSum += section.count;
    sections.push(section);
  }
  if (bytesSum !== extraBytes || countSum > EXTRAS_MAX || countSum * EXTRA_HEAD_BYTES_MIN > extraBytes) {
    throw new AppError(
      'bad_data',
      `append extras: sections of ${countSum} extras and ${bytesSum} bytes in ${extraBytes} bytes; at most ${EXTRAS_MAX}`,
    );
  }
  return sections;
}

function readExtra(reader: ByteReader, into: ExtraColumns): void {
  const reference = reader.varint();
  const kind = reader.u8();
  const timestampMs = reader.f64();
  const length = reader.varint();
  if (kind < EXTRA_HISTOGRAM || kind > EXTRA_EXEMPLAR || reference > 0xffffffff || length > EXTRA_BYTES_MAX) {
    throw new AppError(
      'bad_data',
      `append extras: one of kind ${kind}, reference ${reference}, ${length} bytes`,
    );
  }
  const start = reader.position;
  reader.raw(length);
  into.addRaw(reference, timestampMs, kind, reader.bytes, start, start + length);
}
