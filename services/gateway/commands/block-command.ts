// `tidemark block`: looks into blocks on a disk, without a server.
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { BlockReader } from '../../lib/tsdb/block/block-reader.ts';
import { describeBlock } from '../../lib/tsdb/block/describe-block.ts';
import { type DumpFormat, dumpBlock } from '../../lib/tsdb/block/dump-block.ts';
import { MARKER_BYTES_MAX, MARKER_FILE, parseMarker } from '../../lib/tsdb/block/evicted-marker.ts';
import { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import { verifyBlock, verifyEvictedBlock } from '../../lib/tsdb/block/verify-block.ts';

export const BLOCK_USAGE = `tidemark block: looks into blocks on a disk, without a server.

usage: tidemark block inspect BLOCK…                     what it holds, where its bytes are, labels with many values
       tidemark block verify BLOCK…                      reads all of it: checksums, id, every chunk, every posting
       tidemark block dump [--format=FORMAT] BLOCK…      samples as text; FORMAT is openmetrics (default) or jsonl

BLOCK is a block's folder or a file in it; a running server may hold it: nothing is written. Blocks live in
<data.dir>/blocks/<tenant>/<32 hexadecimal digits>/, those that were set aside in <data.dir>/blocks-quarantine/.

examples:
  tidemark block inspect data/blocks/anonymous/0123456789abcdef0123456789abcdef
  tidemark block verify data/blocks/anonymous/*
  tidemark block dump --format=jsonl data/blocks/anonymous/0123…/meta.json | jq .labels

verify goes on after a damaged block. Of a block that was evicted, whose chunks are in object storage only, it reads what
is here. Exit code 0 when all is well, 1 when a block is damaged or not there, 2 when the command line cannot be understood.
`;

export interface BlockCommandOutput {
  /** Resolves when more can be written. */
  readonly write: (text: string) => Promise<void>;
  readonly complain: (text: string) => void;
}

/** Runs the command; returns the exit code. */
export async function runBlockCommand(argv: readonly string[], output: BlockCommandOutput): Promise<number> {
  const [action, ...rest] = argv;
  if (action === undefined || action === 'help' || argv.includes('--help')) {
    await output.write(BLOCK_USAGE);
    return action === undefined ? 2 : 0;
  }
  const format = rest.find((argument) => argument.startsWith('--format='))?.slice('--format='.length);
  const names = rest.filter((argument) => !argument.startsWith('--format='));
  const problem = problemOf(action, format, names);
  if (problem !== undefined) {
    output.complain(`tidemark block: ${problem} (see tidemark block --help)\n`);
    return 2;
  }
  let exitCode = 0;
  for (const name of names) {
    try {
      await runOn(action, folderOf(name), (format ?? 'openmetrics') as DumpFormat, output);
    } catch (caught) {
      output.complain(`tidemark block: ${toAppError(caught).message}\n`);
      exitCode = 1;
    }
  }
  return exitCode;
}

function problemOf(action: string, format: string | undefined, names: readonly string[]): string | undefined {
  if (!['inspect', 'verify', 'dump'].includes(action))
    return `${JSON.stringify(action)} is not inspect, verify or dump`;
  const flag = names.find((name) => name.startsWith('-'));
  if (flag !== undefined) return `unknown flag ${flag}`;
  if (format !== undefined && (action !== 'dump' || !['openmetrics', 'jsonl'].includes(format)))
    return `--format=${format}: dump takes openmetrics or jsonl`;
  return names.length === 0 ? 'no block given' : undefined;
}

/** The folder, also where a file in it is named. @throws AppError `not_found`. */
function folderOf(name: string): string {
  try {
    return statSync(name).isDirectory() ? name : path.dirname(name);
  } catch (cause) {
    throw new AppError('not_found', `${name}: no such block`, { cause });
  }
}

/** Where the chunks of an evicted block are; undefined of one that has its chunks, or a marker that says nothing. */
function evictedTo(dir: string): string | undefined {
  const file = path.join(dir, MARKER_FILE);
  if (existsSync(path.join(dir, 'chunks')) || !existsSync(file) || statSync(file).size > MARKER_BYTES_MAX)
    return undefined;
  return parseMarker(readFileSync(file, 'utf8'));
}

async function runOn(
  action: string,
  dir: string,
  format: DumpFormat,
  { write }: BlockCommandOutput,
): Promise<void> {
  const from = evictedTo(dir);
  if (from !== undefined && action === 'verify') {
    const { seriesCount, chunkCount, sampleCount } = await verifyEvictedBlock(dir);
    await write(
      `${dir}: evicted, its chunks are in ${from}; index whole; ${seriesCount} series, ${chunkCount} chunks, ${sampleCount} samples\n`,
    );
    return;
  }
  if (from !== undefined)
    throw new AppError(
      'failed_precondition',
      `${dir}: evicted, its chunks are in ${from}; bring them here to ${action} it, or ask the store`,
    );
  if (action === 'verify') {
    const { meta, postings } = await verifyBlock(dir);
    const { seriesCount, chunkCount, sampleCount } = meta;
    await write(
      `${dir}: whole; ${seriesCount} series, ${chunkCount} chunks, ${sampleCount} samples, ${postings} postings\n`,
    );
    return;
  }
  const reader = await BlockReader.open(dir, { cache: new PageCache({ bytesMax: 8 << 20 }) });
  try {
    if (action === 'inspect') await write(`${await describeBlock(reader)}\n`);
    else for await (const text of dumpBlock(reader, format)) await write(text);
  } finally {
    await reader.close();
  }
}
