// HELP, TYPE and UNIT of the metrics of one job: kept once for all its targets, sent when they change and again now and then,
// so that an ingester that lost them gets them back.

import type { MetadataKind } from '../../lib/exposition/exposition-sink.ts';
import { readEscaped } from '../../lib/exposition/series-text.ts';
import type { MetricMetadata } from '../../lib/wire/contracts.ts';

/** Most metrics with metadata per job. */
const FAMILIES_MAX = 20_000;
/** Longest text kept; what is longer is cut. */
const TEXT_CHARACTERS_MAX = 1024;

const NO_FAMILY = -1;

/** Metadata of all targets of a job. */
export class FamilyMetadata {
  readonly #numbers = new Map<string, number>();
  readonly #families: MetricMetadata[] = [];
  readonly #changed = new Set<number>();

  /** Returns the family's number; NO_FAMILY when there are too many. */
  set(metric: string, kind: MetadataKind, text: string): number {
    let number = this.#numbers.get(metric);
    if (number === undefined) {
      if (this.#families.length >= FAMILIES_MAX) return NO_FAMILY;
      number = this.#families.push({ metric, type: '', help: '', unit: '' }) - 1;
      this.#numbers.set(metric, number);
    }
    const family = this.#families[number]!;
    if (family[kind] === text) return number;
    this.#families[number] = { ...family, [kind]: text };
    this.#changed.add(number);
    return number;
  }

  /** The family of a number that `set` gave. */
  family(number: number): MetricMetadata {
    return this.#families[number]!;
  }

  /** What changed since the last call. */
  takeChanged(): MetricMetadata[] {
    if (this.#changed.size === 0) return [];
    const changed = [...this.#changed].map((number) => this.#families[number]!);
    this.#changed.clear();
    return changed;
  }

  /** Makes the next `takeChanged` give everything. */
  touchAll(): void {
    for (const number of this.#families.keys()) this.#changed.add(number);
  }
}

/** Metadata changes with a release of the target: reading it at every so many scrapes is soon enough. */
const READ_EVERY_SCRAPES = 10;

/** The metadata lines of one target, looked at now and then; a line that is the same as last time costs its hash only. */
export class MetadataLines {
  readonly #families: FamilyMetadata;
  #hashes = new Uint32Array(64);
  /** Family of each line. */
  #numbers = new Int32Array(64);
  /** Lines that were read when they were last read. */
  #lines = 0;
  #line = 0;
  #scrape = 0;

  constructor(families: FamilyMetadata) {
    this.#families = families;
  }

  /** Call before a scrape. */
  begin(): void {
    this.#line = 0;
    this.#scrape = (this.#scrape + 1) % READ_EVERY_SCRAPES;
    if (this.#scrape === 1) this.#lines = 0;
  }

  /** The metrics that the target described, in its order. */
  families(): MetricMetadata[] {
    const numbers = new Set(this.#numbers.subarray(0, this.#lines));
    numbers.delete(NO_FAMILY);
    return [...numbers].map((number) => this.#families.family(number));
  }

  /** The lines of the next scrape are read whatever its number: it has series that were not known. */
  expectNew(): void {
    this.#scrape = 0;
  }

  accept(
    kind: MetadataKind,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    textStart: number,
    textEnd: number,
  ): void {
    if (this.#scrape !== 1) return;
    const hash = hashLine(kind, bytes, nameStart, textEnd);
    const line = this.#line++;
    if (line === this.#hashes.length) {
      const hashes = new Uint32Array(line * 2);
      hashes.set(this.#hashes);
      this.#hashes = hashes;
      const numbers = new Int32Array(line * 2);
      numbers.set(this.#numbers);
      this.#numbers = numbers;
    }
    this.#lines = this.#line;
    if (this.#hashes[line] === hash) return;
    this.#hashes[line] = hash;
    const name = readEscaped(bytes, nameStart, nameEnd).replace(/^"(.*)"$/s, '$1');
    const text = readEscaped(bytes, textStart, textEnd).slice(0, TEXT_CHARACTERS_MAX);
    const value = kind === 'type' && text === 'untyped' ? 'unknown' : text;
    this.#numbers[line] = this.#families.set(name, kind, value);
  }
}

/** FNV-1a; a collision would keep an old help text. */
function hashLine(kind: MetadataKind, bytes: Uint8Array, start: number, end: number): number {
  let hash = Math.imul(0x811c9dc5 ^ kind.charCodeAt(0), 0x01000193);
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash >>> 0;
}
