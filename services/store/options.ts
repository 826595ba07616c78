// What a store may be told. Everything but the first three has a default that fits.

export interface StoreOptions {
  /** `--data.dir`: blocks live in `<dataDir>/blocks`. */
  readonly dataDir: string;
  /** Blocks whose newest sample is older than this are deleted, milliseconds; 0 keeps them for ever. */
  readonly retentionMs: number;
  /** Most bytes of blocks; the oldest go first. 0 means no limit. */
  readonly retentionBytes: number;
  /** How often retention is applied, milliseconds. Default: a minute. */
  readonly retentionCheckMs?: number;
  /** Memory for expanded index pages of all blocks, bytes. Default: 64 MiB. */
  readonly indexCacheBytes?: number;
  /** Blocks whose files are kept open while nobody reads them; each takes two descriptors. Default: 128. */
  readonly openBlocksMax?: number;
  /** Most series of one select that names no limit itself. Default: 5 million. */
  readonly seriesMax?: number;
  /** Largest block that is taken, bytes of all files. Default: 256 GiB. */
  readonly blockBytesMax?: number;
  /** Bytes of the disk that blocks being taken leave free. Default: 256 MiB. */
  readonly diskReserveBytes?: number;
}

/** Options with their defaults. */
export function withDefaults(options: StoreOptions): Required<StoreOptions> {
  return {
    retentionCheckMs: 60_000,
    indexCacheBytes: 64 << 20,
    openBlocksMax: 128,
    seriesMax: 5_000_000,
    blockBytesMax: 256 * 2 ** 30,
    diskReserveBytes: 256 << 20,
    ...options,
  };
}
