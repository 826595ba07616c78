// What this store holds, as it tells other stores: everything once, then what changed. Changes are numbered within a session, which
// begins with the process; whoever knows another session, or is too far behind, is told everything.
import { randomBytes } from 'node:crypto';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type {
  BlockName,
  InventoryRequest,
  InventoryResponse,
  WireHeldBlock,
} from '../../lib/wire/contracts.ts';
import { bytesOf } from '../blocks/block-catalog.ts';
import { packIds } from '../blocks/block-ids.ts';

/** Changes that are remembered: a peer that asks every few seconds is never further behind. */
const CHANGES_MAX = 20_000;
/** Blocks in a message: with a hundred sources each it stays below 2 MiB. */
const BLOCKS_PER_MESSAGE = 1000;

interface Change {
  readonly version: number;
  readonly tenant: string;
  readonly blockId: string;
}

export interface InventoryDeps {
  /** All blocks held now. */
  readonly list: () => readonly BlockMeta[];
  /** A block that is held now; undefined when it is not. */
  readonly find: (tenant: string, blockId: string) => BlockMeta | undefined;
  /** Sealed blocks of which deletes left nothing. */
  readonly erased: () => readonly BlockName[];
}

export class OwnInventory {
  readonly #session = randomBytes(8).toString('hex');
  readonly #deps: InventoryDeps;
  #version = 0;
  #changes: Change[] = [];

  constructor(deps: InventoryDeps) {
    this.#deps = deps;
  }

  /** Notes that a block came or went. */
  changed({ tenant, blockId }: BlockName): void {
    this.#changes.push({ version: ++this.#version, tenant, blockId });
    if (this.#changes.length > 2 * CHANGES_MAX) this.#changes = this.#changes.slice(-CHANGES_MAX);
  }

  /** The answer to a request; all of it is of one moment. */
  answer({ session, version }: InventoryRequest): Generator<InventoryResponse> {
    const oldest = this.#changes[0]?.version ?? this.#version + 1;
    const isWhole = session !== this.#session || version > this.#version || version + 1 < oldest;
    const held: BlockMeta[] = [];
    const gone: BlockName[] = [];
    if (isWhole) held.push(...this.#deps.list());
    else this.#collectSince(version, held, gone);
    const erased = [...this.#deps.erased()];
    return messages({ session: this.#session, version: this.#version, isWhole }, held, gone, erased);
  }

  #collectSince(version: number, held: BlockMeta[], gone: BlockName[]): void {
    const names = new Map<string, BlockName>();
    for (let i = this.#changes.length - 1; i >= 0 && this.#changes[i]!.version > version; i--) {
      const { tenant, blockId } = this.#changes[i]!;
      names.set(`${tenant}/${blockId}`, { tenant, blockId });
    }
    for (const name of names.values()) {
      const meta = this.#deps.find(name.tenant, name.blockId);
      if (meta === undefined) gone.push(name);
      else held.push(meta);
    }
  }
}

function* messages(
  head: { readonly session: string; readonly version: number; readonly isWhole: boolean },
  held: readonly BlockMeta[],
  gone: readonly BlockName[],
  erased: readonly BlockName[],
): Generator<InventoryResponse> {
  const parts = Math.max(
    1,
    ...[held, gone, erased].map(({ length }) => Math.ceil(length / BLOCKS_PER_MESSAGE)),
  );
  const part = <T>(all: readonly T[], i: number): T[] =>
    all.slice(i * BLOCKS_PER_MESSAGE, (i + 1) * BLOCKS_PER_MESSAGE);
  for (let i = 0; i < parts; i++) {
    yield { ...head, held: part(held, i).map(toWire), gone: part(gone, i), erased: part(erased, i) };
  }
}

function toWire(meta: BlockMeta): WireHeldBlock {
  return {
    tenant: meta.tenant,
    blockId: meta.blockId,
    minTimeMs: meta.minTimeMs,
    maxTimeMs: meta.maxTimeMs,
    level: meta.level,
    sources: packIds(meta.sources),
    partitions: [...meta.partitions],
    sizeBytes: bytesOf(meta),
    ...(meta.resolutionMs === undefined ? {} : { resolutionMs: meta.resolutionMs }),
  };
}
