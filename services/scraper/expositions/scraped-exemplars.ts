// Exemplars of scrapes on their way into a batch. Targets repeat an exemplar with every scrape until there is a newer one;
// only the first time costs more than a hash.
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { SeriesReference } from '../../lib/distributor/appender.ts';
import { readExemplarLabels } from '../../lib/exposition/series-text.ts';
import { EXEMPLAR_BYTES_MAX } from '../../lib/model/extra-columns.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import type { WriteBatch } from '../write-batch.ts';

/** Characters of all names and values, as OpenMetrics and Prometheus bound them. */
const LABEL_CHARACTERS_MAX = 128;
/** Most exemplars of a target that are remembered; of two in one place the later stays, and the other is written again. */
const SEEN_SLOTS = 1 << 12;

/** The exemplars of one target. */
export class ScrapedExemplars {
  /** Hashes by their low bits; made when the target sends its first exemplar. */
  #seen: Uint32Array | undefined;
  readonly #bits = new Float64Array(2);
  readonly #words = wordsOf(this.#bits);
  readonly #labels = new ByteWriter(256);

  /** What was added since the last successful scrape may be lost: everything is new again. */
  forget(): void {
    this.#seen?.fill(0);
  }

  /**
   * Adds an exemplar unless it is the same as before, or longer than an exemplar may be.
   *
   * @param timestampMs  NaN: it has no time, and takes `sampleMs`.
   * @throws AppError `bad_data` when the labels cannot be read.
   */
  add(
    batch: WriteBatch,
    reference: SeriesReference,
    bytes: Uint8Array,
    start: number,
    end: number,
    value: number,
    timestampMs: number,
    sampleMs: number,
  ): void {
    this.#seen ??= new Uint32Array(SEEN_SLOTS);
    const hash = this.#hash(reference, bytes, start, end, value, timestampMs);
    const slot = hash & (SEEN_SLOTS - 1);
    if (this.#seen[slot] === hash) return;
    this.#seen[slot] = hash;
    const pairs = readExemplarLabels(bytes, start, end);
    if (charactersOf(pairs) > LABEL_CHARACTERS_MAX) return;
    const labels = this.#labels;
    labels.reset();
    encodeLabels(Labels.from(entriesOf(pairs)), labels);
    if (labels.length > EXEMPLAR_BYTES_MAX - 8) return;
    const at = Number.isNaN(timestampMs) ? sampleMs : timestampMs;
    batch.needExtras().addExemplar(reference, at, value, labels.bytes, 0, labels.length);
  }

  /** FNV-1a; never 0. A collision loses an exemplar. */
  #hash(
    reference: SeriesReference,
    bytes: Uint8Array,
    start: number,
    end: number,
    value: number,
    timestampMs: number,
  ): number {
    this.#bits[0] = value;
    this.#bits[1] = timestampMs;
    let hash = Math.imul(0x811c9dc5 ^ reference, 0x01000193);
    for (let i = 0; i < 4; i++) hash = Math.imul(hash ^ this.#words[i]!, 0x01000193);
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
    // Above the bits that choose the slot, so that it is never 0.
    return ((hash ^ (hash >>> 15)) | SEEN_SLOTS) >>> 0;
  }
}

function charactersOf(pairs: readonly string[]): number {
  let characters = 0;
  for (const text of pairs) for (const _ of text) characters++;
  return characters;
}

function* entriesOf(pairs: readonly string[]): Generator<[string, string]> {
  for (let i = 0; i < pairs.length; i += 2) yield [pairs[i]!, pairs[i + 1]!];
}
