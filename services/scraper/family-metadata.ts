// HELP, TYPE and UNIT of the metrics of one job: kept once for all its targets, sent when they change and again now and then,
// so that an ingester that lost them gets them back.

import type { MetadataKind } from '../lib/exposition/exposition-sink.ts';
import { readEscaped } from '../lib/exposition/series-text.ts';
import type { MetricMetadata } from '../lib/wire/contracts.ts';

/** Most metrics with metadata per job. */
const FAMILIES_MAX = 20_000;
/** Longest text kept; what is longer is cut. */
const TEXT_CHARACTERS_MAX = 1024;

/** Metadata of all targets of a job. */
export class FamilyMetadata {
  readonly #families = new Map<string, MetricMetadata>();
  readonly #changed = new Set<string>();

  set(metric: string, kind: MetadataKind, text: string): void {
    let family = this.#families.get(metric);
    if (family === undefined) {
      if (this.#families.size >= FAMILIES_MAX) return;
      family = { metric, type: '', help: '', unit: '' };
      this.#families.set(metric, family);
    }
    if (family[kind] === text) return;
    this.#families.set(metric, { ...family, [kind]: text });
    this.#changed.add(metric);
  }

  /** What changed since the last call. */
  takeChanged(): MetricMetadata[] {
    if (this.#changed.size === 0) return [];
    const changed = [...this.#changed].map((metric) => this.#families.get(metric)!);
    this.#changed.clear();
    return changed;
  }

  /** Makes the next `takeChanged` give everything. */
  touchAll(): void {
    for (const metric of this.#families.keys()) this.#changed.add(metric);
  }
}

/** Metadata changes with a release of the target: reading it at every so many scrapes is soon enough. */
const READ_EVERY_SCRAPES = 10;

/** The metadata lines of one target, looked at now and then; a line that is the same as last time costs its hash only. */
export class MetadataLines {
  readonly #families: FamilyMetadata;
  #hashes = new Uint32Array(64);
  #line = 0;
  #scrape = 0;

  constructor(families: FamilyMetadata) {
    this.#families = families;
  }

  /** Call before a scrape. */
  begin(): void {
    this.#line = 0;
    this.#scrape = (this.#scrape + 1) % READ_EVERY_SCRAPES;
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
      const larger = new Uint32Array(line * 2);
      larger.set(this.#hashes);
      this.#hashes = larger;
    }
    if (this.#hashes[line] === hash) return;
    this.#hashes[line] = hash;
    const name = readEscaped(bytes, nameStart, nameEnd).replace(/^"(.*)"$/s, '$1');
    const text = readEscaped(bytes, textStart, textEnd).slice(0, TEXT_CHARACTERS_MAX);
    this.#families.set(name, kind, kind === 'type' && text === 'untyped' ? 'unknown' : text);
  }
}

/** FNV-1a; a collision would keep an old help text. */
function hashLine(kind: MetadataKind, bytes: Uint8Array, start: number, end: number): number {
  let hash = Math.imul(0x811c9dc5 ^ kind.charCodeAt(0), 0x01000193);
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash >>> 0;
}
