// The configuration file of a running process: read, checked, applied to the services that have some; kept when a new one
// is bad.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Gauge, type Registry } from 'prom-client';
import type { Clock } from '../core/clock.ts';
import { AppError, toAppError } from '../core/errors.ts';
import { loadConfig } from './config/load-config.ts';
import type { PrometheusConfig } from './config/prometheus-config.ts';
import type { Logger } from './logger.ts';

/** A service that the configuration file concerns. */
export interface Configurable {
  /** Takes a checked configuration; when it throws, what it had before stays in force. */
  applyConfig(config: PrometheusConfig): Promise<void>;
}

export interface ReloadState {
  readonly successful: boolean;
  /** Of the last success, Unix milliseconds. */
  readonly atMs: number;
}

export class ConfigHolder {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #successful: Gauge;
  readonly #successSeconds: Gauge;
  #config: PrometheusConfig;
  #state: ReloadState;
  #reloading: Promise<void> | undefined;

  private constructor(
    file: string,
    config: PrometheusConfig,
    deps: { readonly clock: Clock; readonly logger: Logger; readonly registry: Registry },
  ) {
    this.#file = file;
    this.#config = config;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#state = { successful: true, atMs: deps.clock.nowMs() };
    const registers = [deps.registry];
    this.#successful = new Gauge({
      name: 'tidemark_config_last_reload_successful',
      help: 'Whether the last attempt to read the configuration file succeeded.',
      registers,
    });
    this.#successSeconds = new Gauge({
      name: 'tidemark_config_last_reload_success_timestamp_seconds',
      help: 'When the configuration in force was read.',
      registers,
    });
    this.#show();
  }

  /**
   * Reads the file for the first time.
   *
   * @throws AppError `bad_data` naming file, line, column and reason.
   */
  static async open(
    file: string,
    deps: { readonly clock: Clock; readonly logger: Logger; readonly registry: Registry },
  ): Promise<ConfigHolder> {
    const config = await readConfig(file, deps.logger);
    return new ConfigHolder(file, config, deps);
  }

  get config(): PrometheusConfig {
    return this.#config;
  }

  get state(): ReloadState {
    return this.#state;
  }

  /**
   * Reads the file again and applies it to `services` in turn; a second call while one is under way shares it.
   *
   * @throws AppError with the reason; the configuration in force stays, in every service.
   */
  reload(services: readonly Configurable[]): Promise<void> {
    this.#reloading ??= this.#reloadOnce(services).finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  async #reloadOnce(services: readonly Configurable[]): Promise<void> {
    const applied: Configurable[] = [];
    try {
      const next = await readConfig(this.#file, this.#logger);
      for (const service of services) {
        applied.push(service);
        await service.applyConfig(next);
      }
      this.#config = next;
      this.#state = { successful: true, atMs: this.#clock.nowMs() };
      this.#logger.info({ file: this.#file }, 'configuration loaded');
    } catch (caught) {
      this.#state = { ...this.#state, successful: false };
      for (const service of applied) await this.#restore(service);
      throw toAppError(caught);
    } finally {
      this.#show();
    }
  }

  async #restore(service: Configurable): Promise<void> {
    try {
      await service.applyConfig(this.#config);
    } catch (caught) {
      this.#logger.error({ err: toAppError(caught) }, 'the old configuration could not be applied again');
    }
  }

  #show(): void {
    this.#successful.set(this.#state.successful ? 1 : 0);
    this.#successSeconds.set(this.#state.atMs / 1000);
  }
}

async function readConfig(file: string, logger: Logger): Promise<PrometheusConfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (caught) {
    const reason = caught instanceof Error ? caught.message : String(caught);
    throw new AppError(
      'bad_data',
      `cannot read the configuration file: ${reason}; name it with --config.file`,
      {
        cause: caught,
      },
    );
  }
  const config = loadConfig(text, path.resolve(path.dirname(file)), { file });
  for (const notice of config.notices) logger.warn({ file }, notice);
  return config;
}
