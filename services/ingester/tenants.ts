// What an ingester holds per tenant, and the table of tenants.

import { AppError } from '../lib/core/errors.ts';
import { isTenantName } from '../lib/tsdb/block/block-name.ts';
import { Head } from '../lib/tsdb/head/head.ts';
import type { ResolvedOptions } from './options.ts';
import { ChangeTimes } from './reads/change-times.ts';
import { HeadDeletes } from './reads/head-deletes.ts';
import { MetadataTable } from './writes/metadata-table.ts';

/** Times are within ± this, Unix ms: differences of two then fit the log's varints. 71,000 years. */
export const TIME_MS_MAX = 2 ** 51;

export interface Tenant {
  readonly name: string;
  /** Small number of the tenant in this process. */
  readonly number: number;
  readonly head: Head;
  readonly metadata: MetadataTable;
  /** Name of the next range that is frozen. */
  generationNext: number;
  /** Samples before this time may have left the head, Unix ms. */
  leftBeforeMs: number;
  /** Generation of a sealed range → monotonic time at which it may be dropped, ms. */
  readonly sealed: Map<number, number>;
  readonly deletes: HeadDeletes;
  /** Times that were written to since this process began. */
  readonly changes: ChangeTimes;
}

/** Tenants by name; they are made when they first write. */
export class Tenants {
  readonly #options: ResolvedOptions;
  readonly #hashSeed: number;
  readonly #byName = new Map<string, Tenant>();
  readonly #byNumber: Tenant[] = [];

  /** @param hashSeed  Random per process: crafted labels must not be able to collide. */
  constructor(options: ResolvedOptions, hashSeed: number) {
    this.#options = options;
    this.#hashSeed = hashSeed;
  }

  get(name: string): Tenant | undefined {
    return this.#byName.get(name);
  }

  byNumber(number: number): Tenant {
    return this.#byNumber[number]!;
  }

  all(): readonly Tenant[] {
    return this.#byNumber;
  }

  /** @throws AppError `bad_data` when the name cannot be a folder. */
  getOrMake(name: string): Tenant {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    if (!isTenantName(name)) {
      throw new AppError(
        'bad_data',
        `tenant ${JSON.stringify(name)} is not 1 to 128 letters, digits, "_", "-" or (not first) "."`,
      );
    }
    const { blockRangeMs, chunkSamplesTarget, metadataMax } = this.#options;
    const tenant: Tenant = {
      name,
      number: this.#byNumber.length,
      head: new Head({ rangeMs: blockRangeMs, chunkSamplesTarget, hashSeed: this.#hashSeed }),
      metadata: new MetadataTable(metadataMax),
      generationNext: 1,
      leftBeforeMs: -TIME_MS_MAX,
      sealed: new Map(),
      deletes: new HeadDeletes(),
      changes: new ChangeTimes(),
    };
    this.#byName.set(name, tenant);
    this.#byNumber.push(tenant);
    return tenant;
  }

  /** Forgets all of them; only while nobody else holds one. */
  clear(): void {
    this.#byName.clear();
    this.#byNumber.length = 0;
  }

  /** Bytes of all heads. */
  get bytesHeld(): number {
    return this.#byNumber.reduce((sum, { head }) => sum + head.bytesHeld, 0);
  }
}
