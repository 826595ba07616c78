// `scrape_failure_log_file`: a line of JSON for each scrape that fails, as Prometheus writes them. Lines are gathered for a moment and appended
// by the file's name, so that whoever rotates logs may move it away at any time.
import { appendFile } from 'node:fs/promises';
import type { Clock } from '../lib/core/clock.ts';
import { toAppError } from '../lib/core/errors.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { ScraperMetrics } from './metrics.ts';

const GATHER_MS = 500;
/** Most characters that wait per file while the disk is slow or fails; later lines are left out and counted. */
const WAITING_CHARACTERS_MAX = 1024 * 1024;

export interface FailureLogDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ScraperMetrics;
}

interface OpenLog {
  waiting: string[];
  characters: number;
  writing: Promise<void> | undefined;
  trouble: string;
}

/** The files of all jobs. */
export class FailureLogs {
  readonly #deps: FailureLogDeps;
  readonly #logs = new Map<string, OpenLog>();

  constructor(deps: FailureLogDeps) {
    this.#deps = deps;
  }

  /** Never waits. */
  add(file: string, job: string, target: string, message: string): void {
    let log = this.#logs.get(file);
    if (log === undefined) {
      log = { waiting: [], characters: 0, writing: undefined, trouble: '' };
      this.#logs.set(file, log);
    }
    const time = new Date(this.#deps.clock.nowMs()).toISOString();
    const line = `${JSON.stringify({ time, level: 'ERROR', msg: message, job_name: job, target })}\n`;
    if (log.characters + line.length > WAITING_CHARACTERS_MAX) {
      this.#deps.metrics.failureLogLines.inc({ outcome: 'dropped' });
      return;
    }
    log.waiting.push(line);
    log.characters += line.length;
    log.writing ??= this.#writeSoon(file, log);
  }

  /** Everything that waits is written, or could not be. */
  async flush(): Promise<void> {
    await Promise.all([...this.#logs].map(([file, log]) => this.#write(file, log)));
  }

  async #writeSoon(file: string, log: OpenLog): Promise<void> {
    await this.#deps.clock.sleep(GATHER_MS);
    await this.#write(file, log);
    log.writing = log.waiting.length > 0 ? this.#writeSoon(file, log) : undefined;
  }

  async #write(file: string, log: OpenLog): Promise<void> {
    const lines = log.waiting;
    if (lines.length === 0) return;
    log.waiting = [];
    log.characters = 0;
    const { metrics, logger } = this.#deps;
    try {
      await appendFile(file, lines.join(''));
      metrics.failureLogLines.inc({ outcome: 'written' }, lines.length);
      log.trouble = '';
    } catch (caught) {
      metrics.failureLogLines.inc({ outcome: 'dropped' }, lines.length);
      const reason = toAppError(caught).message;
      if (reason !== log.trouble)
        logger.error({ file, reason }, 'failed scrapes cannot be logged (scrape_failure_log_file)');
      log.trouble = reason;
    }
  }
}
