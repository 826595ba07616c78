// A gateway on a real HTTP server, with the services behind it played by handlers that a test supplies.
import { Registry } from 'prom-client';
import type { GatewayHost } from '../../services/gateway/host.ts';
import type { GatewayOptions } from '../../services/gateway/options.ts';
import { createGateway, type Gateway } from '../../services/gateway/service.ts';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { AppError } from '../../services/lib/core/errors.ts';
import type { Distributor } from '../../services/lib/distributor/appender.ts';
import { encodeLabels, Labels } from '../../services/lib/model/labels.ts';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Handlers, ServiceDefinition } from '../../services/lib/transport/rpc.ts';
import {
  AlertEvaluatorDefinition,
  IngesterDefinition,
  QuerierDefinition,
  type QueryResponse,
  type QueryTrailer,
  type ResultType,
  ScraperDefinition,
  type SeriesResponse,
  StoreDefinition,
} from '../../services/lib/wire/contracts.ts';
import { ResultFrameWriter } from '../../services/lib/wire/frames/result-frame.ts';
import { SeriesFrameWriter } from '../../services/lib/wire/frames/series-frame.ts';

/** What a test plays; a call that it does not play is refused. */
export interface PlayedServices {
  readonly querier?: Partial<Handlers<typeof QuerierDefinition>>;
  readonly scraper?: Partial<Handlers<typeof ScraperDefinition>>;
  readonly alertEvaluator?: Partial<Handlers<typeof AlertEvaluatorDefinition>>;
  readonly ingester?: Partial<Handlers<typeof IngesterDefinition>>;
  readonly store?: Partial<Handlers<typeof StoreDefinition>>;
}

export interface GatewayRig {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string;
  readonly gateway: Gateway;
  readonly registry: Registry;
  close(): Promise<void>;
}

export const PLAYED_HOST: GatewayHost = {
  version: '0.1.0',
  buildInformation: {
    version: '3.14.0',
    revision: 'tidemark-0.1.0',
    branch: 'main',
    buildUser: '',
    buildDate: '',
    goVersion: 'nodejs v24',
  },
  startedAtMs: 1_700_000_000_000,
  storageRetention: '15d',
  flags: () => new Map([['web.listen-address', '0.0.0.0:9090']]),
  configYaml: () => 'global: {}\n',
  lastReload: () => ({ successful: true, atMs: 1_700_000_000_123 }),
  reload: async () => undefined,
  isReady: () => true,
  shutdown: () => undefined,
};

export async function startGateway(
  played: PlayedServices = {},
  options: Partial<GatewayOptions> = {},
  host: Partial<GatewayHost> = {},
): Promise<GatewayRig> {
  const registry = new Registry();
  const gateway = createGateway(
    {
      listenAddress: '127.0.0.1:0',
      externalUrl: '',
      lifecycleEnabled: false,
      adminApiEnabled: false,
      corsOrigin: '.*',
      queryTimeoutMs: 120_000,
      features: DEFAULT_FEATURES,
      ...options,
    },
    {
      cluster: clusterOf(played),
      distributor: refusingDistributor,
      clock: systemClock,
      logger: createSilentLogger(),
      registry,
      host: { ...PLAYED_HOST, ...host },
    },
  );
  await gateway.start();
  const close = async (): Promise<void> => {
    await gateway.drain();
    await gateway.stop();
  };
  return { url: `http://127.0.0.1:${gateway.address()!.port}`, gateway, registry, close };
}

const refusingDistributor: Distributor = {
  appender: () => ({
    resolve: () => 0,
    resolveBytes: () => 0,
    labelsOf: () => undefined,
    write: () => Promise.reject(new AppError('unavailable', 'no quorum in this test')),
  }),
};

function clusterOf(played: PlayedServices): Cluster {
  return {
    placement: () => undefined,
    replicationFactor: 1,
    ingesters: () => peers(IngesterDefinition, played.ingester),
    stores: () => peers(StoreDefinition, played.store),
    queriers: () => peers(QuerierDefinition, played.querier),
    scrapers: () => peers(ScraperDefinition, played.scraper),
    alertEvaluators: () => peers(AlertEvaluatorDefinition, played.alertEvaluator),
  };
}

function peers<D extends ServiceDefinition>(definition: D, handlers: Partial<Handlers<D>> | undefined) {
  if (handlers === undefined) return [];
  const complete = new Proxy(handlers, {
    get: (own, key) =>
      Reflect.get(own, key) ??
      (() => Promise.reject(new AppError('internal', `the test plays no ${String(key)}`))),
  }) as Handlers<D>;
  return [{ instance: 'played', client: createInProcessClient(definition, complete) }];
}

/** A series of a played result: labels, then `[Unix ms, value]` pairs. */
export interface PlayedSeries {
  readonly labels: Readonly<Record<string, string>>;
  readonly samples: readonly (readonly [number, number])[];
}

/** A querier's answer: header, frames, trailer. */
export async function* playResult(
  resultType: ResultType,
  series: readonly PlayedSeries[],
  trailer: Partial<QueryTrailer> = {},
  stringValue = '',
): AsyncGenerator<QueryResponse> {
  yield { part: { $case: 'header', value: { resultType, stringValue } } };
  const writer = new ResultFrameWriter();
  for (const { labels, samples } of series) {
    const times = Float64Array.from(samples, ([time]) => time);
    const values = Float64Array.from(samples, ([, value]) => value);
    const frame = writer.add(Labels.from(Object.entries(labels)), times, values, samples.length);
    if (frame !== undefined) yield { part: { $case: 'frame', value: Buffer.from(frame.buffer) } };
  }
  const last = writer.finish();
  if (last !== undefined) yield { part: { $case: 'frame', value: Buffer.from(last.buffer) } };
  const value: QueryTrailer = {
    warnings: [],
    infos: [],
    samplesRead: 0,
    samplesPeak: 0,
    planMs: 0,
    fetchMs: 0,
    evaluateMs: 0,
    queueMs: 0,
    ...trailer,
  };
  yield { part: { $case: 'trailer', value } };
}

/** A querier's answer to a series search. */
export async function* playSeries(
  labelSets: readonly Readonly<Record<string, string>>[],
  truncated = false,
): AsyncGenerator<SeriesResponse> {
  const writer = new SeriesFrameWriter();
  for (const labels of labelSets) {
    const bytes = new ByteWriter();
    encodeLabels(Labels.from(Object.entries(labels)), bytes);
    writer.beginSeries(bytes.bytes, 0, bytes.length);
  }
  for (const frame of writer.finish()) yield { frame: Buffer.from(frame.buffer), truncated: false };
  yield { frame: Buffer.alloc(0), truncated };
}
