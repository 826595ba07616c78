// A world for the alert evaluator: a querier whose answers the test decides, and a distributor that remembers what was
// written. Both speak the real contracts.

import { AppError } from '../../services/lib/core/errors.ts';
import type { Appender, Distributor } from '../../services/lib/distributor/appender.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { isStaleAt, wordsOf } from '../../services/lib/model/sample-columns.ts';
import { PLAIN_HTTP } from '../../services/lib/runtime/config/http-client-section.ts';
import type {
  AlertmanagerConfig,
  PrometheusConfig,
} from '../../services/lib/runtime/config/prometheus-config.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Handlers } from '../../services/lib/transport/rpc.ts';
import {
  QuerierDefinition,
  type QueryRequest,
  type QueryResponse,
  ResultType,
} from '../../services/lib/wire/contracts.ts';
import { ResultFrameWriter } from '../../services/lib/wire/frames/result-frame.ts';

/** What a query finds: label sets with their values. */
export type Answer = readonly (readonly [Readonly<Record<string, string>>, number])[];

export interface WrittenSample {
  readonly series: string;
  readonly timeMs: number;
  /** `stale` for a staleness marker. */
  readonly value: number | 'stale';
}

export interface RuleWorld {
  readonly cluster: Cluster;
  readonly distributor: Distributor;
  /** Queries that were asked, oldest first. */
  readonly asked: QueryRequest[];
  readonly written: WrittenSample[];
  /** Decides what a query finds; may throw. */
  answer: (request: QueryRequest) => Answer;
  /** When set, writes fail with it. */
  writeError: AppError | undefined;
  /** When set, every write refuses one sample with this reason. */
  rejection: string | undefined;
}

const unused = (): never => {
  throw new AppError('internal', 'the alert evaluator does not call this');
};

/** Makes the world; queries find nothing at first. */
export function createRuleWorld(): RuleWorld {
  const asked: QueryRequest[] = [];
  const written: WrittenSample[] = [];
  const handlers: Handlers<typeof QuerierDefinition> = {
    query: async function* (request) {
      asked.push(request);
      yield* respond(world.answer(request), request.startMs);
    },
    series: unused,
    exemplars: unused,
    samples: unused,
    labels: unused,
    metadata: unused,
    headStatistics: unused,
    activeQueries: unused,
    killQuery: unused,
  };
  const querier = { instance: 'querier-0', client: createInProcessClient(QuerierDefinition, handlers) };
  const none = () => [];
  const world: RuleWorld = {
    cluster: {
      placement: () => undefined,
      replicationFactor: 1,
      ingesters: none,
      stores: none,
      queriers: () => [querier],
      scrapers: none,
      alertEvaluators: none,
    },
    distributor: { appender: () => rememberingAppender(() => world, written) },
    asked,
    written,
    answer: () => [],
    writeError: undefined,
    rejection: undefined,
  };
  return world;
}

function* respond(answer: Answer, timeMs: number): Generator<QueryResponse> {
  yield { part: { $case: 'header', value: { resultType: ResultType.RESULT_TYPE_VECTOR, stringValue: '' } } };
  const frames = new ResultFrameWriter();
  for (const [labels, value] of answer) {
    const full = frames.add(
      Labels.from(Object.entries(labels)),
      Float64Array.of(timeMs),
      Float64Array.of(value),
      1,
    );
    if (full !== undefined) yield { part: { $case: 'frame', value: full } };
  }
  const last = frames.finish();
  if (last !== undefined) yield { part: { $case: 'frame', value: last } };
  const trailer = {
    warnings: [],
    infos: [],
    samplesRead: 0,
    samplesPeak: 0,
    planMs: 0,
    fetchMs: 0,
    evaluateMs: 0,
    queueMs: 0,
  };
  yield { part: { $case: 'trailer', value: trailer } };
}

function rememberingAppender(world: () => RuleWorld, written: WrittenSample[]): Appender {
  const series: string[] = [];
  return {
    resolve: (labels) => series.push(labels.toString()) - 1,
    resolveBytes: unused,
    labelsOf: unused,
    write: async (columns) => {
      const { writeError, rejection } = world();
      if (writeError !== undefined) throw writeError;
      const words = wordsOf(columns.values);
      for (let i = 0; i < columns.count; i++) {
        written.push({
          series: series[columns.references[i]!]!,
          timeMs: columns.timestampsMs[i]!,
          value: isStaleAt(words, i) ? 'stale' : columns.values[i]!,
        });
      }
      const rejected = rejection === undefined ? 0 : 1;
      return {
        written: columns.count - rejected,
        histogramsWritten: 0,
        rejected,
        exemplarsWritten: 0,
        exemplarsRejected: 0,
        firstRejection: rejection,
      };
    },
  };
}

/** An `alerting.alertmanagers` section with static addresses. */
export function alertmanagerSection(
  addresses: readonly string[],
  changes: Partial<AlertmanagerConfig> = {},
): AlertmanagerConfig {
  return {
    scheme: 'http',
    pathPrefix: '/',
    timeoutMs: 10_000,
    http: PLAIN_HTTP,
    discovery: {
      staticConfigs: [{ targets: addresses, labels: Labels.empty, source: '0' }],
      fileSdConfigs: [],
    },
    relabelConfigs: [],
    alertRelabelConfigs: [],
    ...changes,
  };
}

/** A configuration with nothing but what rules need. */
export function ruleConfig(options: {
  readonly ruleFiles: readonly string[];
  readonly intervalMs: number;
  readonly externalLabels?: Readonly<Record<string, string>>;
  readonly alerting?: Partial<PrometheusConfig['alerting']>;
}): PrometheusConfig {
  return {
    global: {
      scrapeIntervalMs: 60_000,
      scrapeTimeoutMs: 10_000,
      evaluationIntervalMs: options.intervalMs,
      externalLabels: Labels.from(Object.entries(options.externalLabels ?? {})),
      ruleQueryOffsetMs: 0,
    },
    scrapeConfigs: [],
    ruleFiles: options.ruleFiles,
    alerting: { alertRelabelConfigs: [], alertmanagers: [], ...options.alerting },
    storage: { downsampling: [], retention: [] },
    redactedYaml: '',
    notices: [],
  };
}
