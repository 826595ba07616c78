// Segments of Prometheus' write-ahead log: pages of 32 KiB, records cut into fragments, each with a checksum, some compressed
// (docs/format/prometheus.md). A damaged fragment costs its page; reading goes on at the next whole record.
import type { Disk } from '../../core/disk.ts';
import { BufferedFile } from './buffered-file.ts';
import { crc32c } from './crc32c.ts';
import { type OnDamage, PrometheusFileError } from './prometheus-error.ts';
import { named } from './prometheus-index.ts';

const PAGE_BYTES = 32 * 1024;
const FRAGMENT_HEADER_BYTES = 7;
const TYPE_MASK = 7;
const SNAPPY_BIT = 8;
const ZSTD_BIT = 16;
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;

/** Prometheus cuts segments at 128 MiB, and no record is longer than a segment. */
const RECORD_BYTES_MAX = 128 << 20;
/** Record bytes handed over between two turns. */
const TURN_BYTES = 1 << 20;

/**
 * Decompresses a record.
 *
 * @param bytesMax  More than that is refused before it is allocated.
 * @throws Error when the bytes are not such a block.
 */
export type Decompress = (bytes: Uint8Array, bytesMax: number) => Uint8Array;

export interface WalDeps {
  readonly disk: Disk;
  readonly snappy: Decompress;
  readonly zstd: Decompress;
}

/** Receives a record's bytes; they are valid during the call. What it throws is reported as damage of the record. */
export type OnRecord = (record: Uint8Array) => void;

/**
 * Reads one segment; yields the offset every now and then, so that the receiver can wait for whom it feeds.
 *
 * @param isLast  The newest segment may end within a page or record: that is how a killed Prometheus leaves it, and no damage
 *                to what was whole.
 */
export async function* readWalSegment(
  file: string,
  isLast: boolean,
  deps: WalDeps,
  onRecord: OnRecord,
  onDamage: OnDamage,
): AsyncGenerator<number> {
  const pages = await BufferedFile.open(file, await deps.disk.open(file, 'read'));
  try {
    const assembler = new RecordAssembler(file, deps, onRecord, onDamage);
    let turned = 0;
    for (let at = 0; at < pages.size; at += PAGE_BYTES) {
      const page = await pages.peek(at, PAGE_BYTES);
      const isCut = isLast && at + PAGE_BYTES >= pages.size;
      for (const bytes of readPage(page, at, isCut, assembler)) {
        turned += bytes;
        if (turned < TURN_BYTES) continue;
        turned = 0;
        yield at;
      }
    }
    if (!isLast && assembler.isWithinRecord)
      assembler.refuseRest(pages.size, 'the segment ends within a record');
    yield pages.size;
  } finally {
    await pages.close();
  }
}

/** Yields the bytes of each record that it completes. */
function* readPage(
  page: Uint8Array,
  pageAt: number,
  isCut: boolean,
  assembler: RecordAssembler,
): Generator<number> {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  let at = 0;
  while (at + FRAGMENT_HEADER_BYTES <= page.length) {
    const kind = page[at]!;
    // The rest of the page is filling.
    if (kind === 0) return;
    const start = at + FRAGMENT_HEADER_BYTES;
    const end = start + view.getUint16(at + 1);
    if (end > page.length) {
      if (!isCut) assembler.refuseRest(pageAt + at, 'a fragment passes its page');
      return;
    }
    if (crc32c(page, start, end) !== view.getUint32(at + 3)) {
      assembler.refuseRest(pageAt + at, `a fragment of ${end - start} bytes has another checksum`);
      return;
    }
    yield assembler.add(kind, page.subarray(start, end), pageAt + at);
    at = end;
  }
}

/** Puts fragments together. */
class RecordAssembler {
  readonly #file: string;
  readonly #deps: WalDeps;
  readonly #onRecord: OnRecord;
  readonly #onDamage: OnDamage;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Where the record under way begins. */
  #startedAt = 0;

  constructor(file: string, deps: WalDeps, onRecord: OnRecord, onDamage: OnDamage) {
    this.#file = file;
    this.#deps = deps;
    this.#onRecord = onRecord;
    this.#onDamage = onDamage;
  }

  get isWithinRecord(): boolean {
    return this.#pieces.length > 0;
  }

  /** Reports damage, and forgets the record that was under way. */
  refuseRest(offset: number, what: string): void {
    this.#onDamage(new PrometheusFileError(this.#file, offset, what));
    this.#clear();
  }

  /** @returns Bytes of the record that the fragment completes, or 0. */
  add(kind: number, fragment: Uint8Array, offset: number): number {
    const type = kind & TYPE_MASK;
    const opens = type === FULL || type === FIRST;
    if (opens === this.isWithinRecord || type > LAST || kind > (TYPE_MASK | SNAPPY_BIT | ZSTD_BIT)) {
      this.refuseRest(offset, `a fragment of type ${kind} is out of place`);
      if (!opens) return 0;
    }
    if (opens) this.#startedAt = offset;
    if (type === FULL) return this.#finish(kind, fragment);
    if (this.#bytes + fragment.length > RECORD_BYTES_MAX) {
      this.refuseRest(offset, `a record of more than ${RECORD_BYTES_MAX} bytes`);
      return 0;
    }
    // The page's bytes are overwritten by the next ones.
    this.#pieces.push(fragment.slice());
    this.#bytes += fragment.length;
    if (type === FIRST || type === MIDDLE) return 0;
    const whole = Buffer.concat(this.#pieces);
    this.#clear();
    return this.#finish(kind, whole);
  }

  #finish(kind: number, bytes: Uint8Array): number {
    try {
      const record = this.#unpack(kind, bytes);
      this.#onRecord(record);
      return record.length;
    } catch (caught) {
      this.#onDamage(named(this.#file, this.#startedAt, caught));
      return bytes.length;
    }
  }

  #unpack(kind: number, bytes: Uint8Array): Uint8Array {
    if ((kind & SNAPPY_BIT) !== 0) return this.#deps.snappy(bytes, RECORD_BYTES_MAX);
    if ((kind & ZSTD_BIT) !== 0) return this.#deps.zstd(bytes, RECORD_BYTES_MAX);
    return bytes;
  }

  #clear(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }
}
