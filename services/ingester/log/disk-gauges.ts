// How full the disk of the log is, read when metrics are: below the watermark writes are refused, so whoever looks should see it coming.
import { Gauge, type Registry } from 'prom-client';
import type { Disk } from '../../lib/core/disk.ts';

/** The watermark where none is set: this share of the disk, and no more than this. */
const FREE_SHARE = 0.05;
const FREE_BYTES_MAX = 256 << 20;

/** Free bytes below which writes are refused, for a disk that no option says it for. */
export async function shareOfDisk(folder: string, disk: Disk): Promise<number> {
  const { totalBytes } = await disk.space(folder);
  return Math.min(FREE_BYTES_MAX, Math.floor(totalBytes * FREE_SHARE));
}

/** @param freeBytesMin  The watermark. A disk that cannot be asked gives no values. */
export function createDiskGauges(
  folder: string,
  freeBytesMin: number,
  { disk, registry }: { readonly disk: Disk; readonly registry: Registry },
): void {
  const registers = [registry];
  new Gauge({
    name: 'tidemark_ingester_disk_free_bytes',
    help: 'Free bytes of the disk that the log is on.',
    registers,
    async collect() {
      await disk.space(folder).then(
        ({ freeBytes }) => this.set(freeBytes),
        () => this.reset(),
      );
    },
  });
  new Gauge({
    name: 'tidemark_ingester_disk_watermark_bytes',
    help: 'Free bytes of that disk below which writes are refused.',
    registers,
  }).set(freeBytesMin);
}
