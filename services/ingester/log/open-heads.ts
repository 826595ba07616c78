// What a start does before anything else: the heads as they were, from the newest image and the log behind it, or from the whole log;
// and the log open for writing.
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { type AppError, toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Damage, ReplayReport } from '../../lib/tsdb/log/replay.ts';
import { openSegmentLog, type SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import type { IngesterMetrics } from '../ingest-metrics.ts';
import type { ResolvedOptions } from '../options.ts';
import type { Tenants } from '../tenants.ts';
import type { HeldTable } from '../writes/held-table.ts';
import { readCheckpoint } from './checkpoint.ts';
import { shareOfDisk } from './disk-gauges.ts';
import { type LoadedImage, loadHeadImage } from './head-image-loader.ts';
import type { StartDone } from './head-images.ts';
import { Replayer } from './replay.ts';

export interface HeadFolders {
  readonly logFolder: string;
  readonly imageFolder: string;
}

export interface OpenHeadsDeps {
  /** Filled; empty before. */
  readonly tenants: Tenants;
  readonly held: HeldTable;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: IngesterMetrics;
  /** The log can no longer be trusted. */
  readonly onFatal: (error: AppError) => void;
}

/** What a replay found. */
export interface Replayed {
  /** Nothing was ever written here. */
  readonly isFresh: boolean;
  /** Something that was acknowledged may be lost. */
  readonly isDamaged: boolean;
  /** Series have other ids than the log names them by. */
  readonly isRenumbered: boolean;
}

export interface OpenedHeads {
  readonly log: SegmentLog;
  /** Undefined where there was no image that can be used. */
  readonly loaded: LoadedImage | undefined;
  readonly replayed: Replayed;
  readonly done: StartDone;
}

/**
 * Opens image and log.
 *
 * @throws AppError as openSegmentLog. Damage is logged and counted, and does not stop a start.
 */
export async function openHeads(
  options: ResolvedOptions,
  { logFolder, imageFolder }: HeadFolders,
  deps: OpenHeadsDeps,
): Promise<OpenedHeads> {
  const { clock, disk, held, logger } = deps;
  const startedMs = clock.monotonicMs();
  const { loaded, replayer } = await loadImage(options, { logFolder, imageFolder }, deps);
  const imageMs = clock.monotonicMs() - startedMs;
  const visit = replayer.apply.bind(replayer);
  const onDamage = (damage: Damage) => {
    logger.error({ ...damage, folder: logFolder }, 'the log is damaged');
  };
  const checkpoint: ReplayReport = { records: 0, bytes: 0, quarantined: 0, truncatedBytes: 0 };
  if (loaded === undefined) await readCheckpoint(logFolder, visit, checkpoint, { disk, clock, onDamage });
  const log = await openSegmentLog(
    {
      folder: logFolder,
      segmentBytesMax: options.segmentBytesMax,
      groupCommitMs: options.groupCommitMs,
      commitBytes: options.commitBytes,
      bytesInFlightMax: options.bytesInFlightMax,
      freeBytesMin: options.diskFreeBytesMin ?? (await shareOfDisk(logFolder, disk)),
      segmentAbove: replayer.checkpointSegment,
      ...(loaded === undefined ? {} : { replayFrom: loaded.position }),
    },
    { disk, clock, onDamage, ...watching(deps) },
    visit,
  );
  replayer.finish();
  held.settle(log.segment);
  const replayed = conclude(log, replayer, checkpoint, loaded, deps);
  logger.info(
    {
      records: log.replayed.records,
      bytes: log.replayed.bytes,
      samples: replayer.samples,
      unknownSamples: replayer.unknownSamples,
      quarantined: log.replayed.quarantined + checkpoint.quarantined,
      truncatedBytes: log.replayed.truncatedBytes,
      series: deps.tenants.all().reduce((sum, { head }) => sum + head.seriesCount, 0),
      imageMs: Math.round(imageMs),
      elapsedMs: Math.round(clock.monotonicMs() - startedMs),
    },
    loaded === undefined ? 'log replayed' : 'head image read, log behind it replayed',
  );
  const { samples, definitions: series } = replayer;
  const done = { samples, series, elapsedMs: clock.monotonicMs() - startedMs };
  return { log, loaded, replayed, done };
}

/** The heads from their image; without one that can be used they are empty, and so is the replayer. */
async function loadImage(
  { blockRangeMs }: ResolvedOptions,
  { logFolder, imageFolder }: HeadFolders,
  { tenants, held, disk, clock, logger, metrics }: OpenHeadsDeps,
): Promise<{ readonly loaded: LoadedImage | undefined; readonly replayer: Replayer }> {
  const replayer = new Replayer(tenants, held);
  const deps = { folder: imageFolder, logFolder, rangeMs: blockRangeMs, disk, clock };
  try {
    const loaded = await loadHeadImage(tenants, replayer, deps);
    if (loaded !== undefined) metrics.images.inc({ result: 'loaded' });
    return { loaded, replayer };
  } catch (caught) {
    metrics.images.inc({ result: 'damaged' });
    logger.error(
      { err: toAppError(caught) },
      'the head image cannot be used: the whole log is replayed instead',
    );
    tenants.clear();
    held.clear();
    return { loaded: undefined, replayer: new Replayer(tenants, held) };
  }
}

/** What the log tells while it is replayed, and afterwards. */
function watching({ metrics, onFatal }: OpenHeadsDeps) {
  return {
    onReplay: (segment: number, first: number, last: number) => {
      metrics.replaySegment.set({ which: 'first' }, first);
      metrics.replaySegment.set({ which: 'last' }, last);
      metrics.replaySegment.set({ which: 'current' }, segment);
    },
    onFatal,
    onCommit: (bytes: number, elapsedMs: number) => {
      metrics.commitBytes.inc(bytes);
      metrics.commitSeconds.observe(elapsedMs / 1000);
    },
  };
}

function conclude(
  { replayed }: SegmentLog,
  replayer: Replayer,
  checkpoint: ReplayReport,
  loaded: LoadedImage | undefined,
  { metrics, held }: OpenHeadsDeps,
): Replayed {
  const quarantined = replayed.quarantined + checkpoint.quarantined;
  metrics.logQuarantined.inc(quarantined);
  metrics.logTruncatedBytes.inc(replayed.truncatedBytes);
  metrics.replayUnknownSamples.inc(replayer.unknownSamples);
  const isEmpty = replayed.records + checkpoint.records + quarantined === 0;
  return {
    isFresh: loaded === undefined && isEmpty && !held.isKnown,
    isDamaged: quarantined + replayer.unknownSamples > 0,
    isRenumbered: replayer.renumbered > 0,
  };
}
