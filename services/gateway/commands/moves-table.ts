// What stores move, as lines of text below the members.

import type { BucketMoves, MovesAnswer, StoreMoves } from '../api/store-moves-api.ts';
import { alignColumns } from './status-table.ts';

const HEADINGS = [
  'STORE',
  'STATE',
  'BLOCKS',
  'BYTES',
  'MISSING',
  'SURPLUS',
  'COPIES',
  'RATE',
  'LEFT',
  'CHECKED',
  'NOTE',
];

/** A line for all, an empty one, then a line per store; empty in one process, where nothing moves. */
export function printMoves(answer: MovesAnswer): string {
  if (answer.stores.length === 0) return '';
  const left =
    answer.remainingSeconds === null ? 'no estimate yet' : `about ${answer.remainingSeconds}s left`;
  const head =
    answer.missingBytes === 0
      ? `every block is on the ${answer.replicationFactor} stores that should have it`
      : `${printBytes(answer.missingBytes)} are still to be copied, ${left}`;
  const isWhole = answer.stores.every(({ state }) => state === 'live' || state === 'leaving');
  const title = isWhole ? head : `${head}, as far as stores answer`;
  return `\n${title}\n\n${alignColumns([HEADINGS, ...answer.stores.map(rowOf)])}`;
}

function rowOf(store: StoreMoves): string[] {
  return [
    store.instance,
    store.state,
    String(store.heldBlocks),
    printBytes(store.heldBytes),
    printBytes(store.missingBytes),
    printBytes(store.surplusBytes),
    String(store.moves.length),
    `${printBytes(store.bytesPerSecond)}/s`,
    store.remainingSeconds === null ? '-' : `${store.remainingSeconds}s`,
    store.scrubbedSince?.slice(0, 10) ?? '-',
    noteOf(store) || '-',
  ];
}

function noteOf({ quarantinedBlocks, obstacle, bucket }: StoreMoves): string {
  const corrupt = quarantinedBlocks === 0 ? [] : [`${quarantinedBlocks} corrupt blocks not replaced yet`];
  const notes = [
    ...corrupt,
    ...(obstacle === '' ? [] : [obstacle]),
    ...(bucket === null ? [] : bucketNotes(bucket)),
  ];
  return notes.join('; ');
}

function bucketNotes(bucket: BucketMoves): string[] {
  const { name, evictedBlocks, evictedBytes, cacheBytes, cacheBytesMax } = bucket;
  const away =
    cacheBytesMax === 0
      ? []
      : [
          `${evictedBlocks} blocks (${printBytes(evictedBytes)}) in ${name} only, ` +
            `${printBytes(cacheBytes)} of ${printBytes(cacheBytesMax)} cached`,
        ];
  return [...uploadNotes(bucket), ...away];
}

function uploadNotes({ name, pendingBlocks, pendingBytes, upload, obstacle }: BucketMoves): string[] {
  if (obstacle !== '') return [obstacle];
  if (pendingBlocks === 0) return [];
  const done =
    upload === null
      ? ''
      : `, ${printBytes(upload.doneBytes)} of ${printBytes(upload.totalBytes)} of one done`;
  return [`${pendingBlocks} blocks (${printBytes(pendingBytes)}) to be brought to ${name}${done}`];
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `12.3 MiB`. */
export function printBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}
