// The pieces of answers that a querier keeps: bytes, not objects, within a bound. When it is full, the tenant that holds most gives up what
// it has not used for longest.
import type { AnswerCoverage } from '../../lib/wire/contracts.ts';
import type { PieceVersion } from './source-versions.ts';

/** What a piece takes beside its frames: its objects, its versions, its places in two tables. */
const PIECE_BYTES = 1024;

/** A part of an answer: some steps in a row. */
export interface Piece {
  /** Unix ms of the first and the last step. */
  readonly startMs: number;
  readonly endMs: number;
  /** Samples that were read for it, Unix ms, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Of these samples, from before they were read. */
  readonly version: PieceVersion;
  /** Result frames (wire/docs/result-frame.md), series in label order, those without values left out. Read only. */
  readonly frames: readonly Uint8Array[];
  readonly evaluation: PieceEvaluation;
}

/** The evaluation that pieces come from. */
export interface PieceEvaluation {
  /** Most samples that it held. */
  readonly samplesPeak: number;
  /** What its selects rested on, all of them together. */
  readonly coverage: AnswerCoverage;
}

interface Kept {
  readonly piece: Piece;
  readonly bytes: number;
}

interface TenantPieces {
  bytes: number;
  /** Least recently used first. */
  readonly pieces: Map<string, Kept>;
}

export class PieceStore {
  readonly bytesMax: number;
  evictions = 0;
  #bytes = 0;
  #count = 0;
  readonly #tenants = new Map<string, TenantPieces>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  /**
   * @param key    Names the query and its step; short.
   * @param index  Of the piece.
   */
  get(tenant: string, key: string, index: number): Piece | undefined {
    const own = this.#tenants.get(tenant);
    const name = nameOf(key, index);
    const kept = own?.pieces.get(name);
    if (own === undefined || kept === undefined) return undefined;
    own.pieces.delete(name);
    own.pieces.set(name, kept);
    return kept.piece;
  }

  delete(tenant: string, key: string, index: number): void {
    const own = this.#tenants.get(tenant);
    if (own !== undefined) this.#remove(tenant, own, nameOf(key, index));
  }

  /** Keeps a piece in place of the one that was there; what is larger than all the room is not kept. */
  set(tenant: string, key: string, index: number, piece: Piece): void {
    const name = nameOf(key, index);
    const bytes = PIECE_BYTES + 2 * name.length + piece.frames.reduce((sum, { length }) => sum + length, 0);
    this.delete(tenant, key, index);
    if (bytes > this.bytesMax) return;
    let own = this.#tenants.get(tenant);
    if (own === undefined) this.#tenants.set(tenant, (own = { bytes: 0, pieces: new Map() }));
    own.pieces.set(name, { piece, bytes });
    own.bytes += bytes;
    this.#bytes += bytes;
    this.#count++;
    while (this.#bytes > this.bytesMax) this.#evict();
  }

  #evict(): void {
    let largest: [string, TenantPieces] | undefined;
    for (const entry of this.#tenants) if (entry[1].bytes > (largest?.[1].bytes ?? -1)) largest = entry;
    const [tenant, own] = largest!;
    this.#remove(tenant, own, own.pieces.keys().next().value!);
    this.evictions++;
  }

  #remove(tenant: string, own: TenantPieces, name: string): void {
    const kept = own.pieces.get(name);
    if (kept === undefined) return;
    own.pieces.delete(name);
    own.bytes -= kept.bytes;
    this.#bytes -= kept.bytes;
    this.#count--;
    if (own.pieces.size === 0) this.#tenants.delete(tenant);
  }
}

function nameOf(key: string, index: number): string {
  return `${index} ${key}`;
}
