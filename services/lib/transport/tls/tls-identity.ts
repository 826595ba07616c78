// The certificates of this process as they are now: read at the start, looked at again every few seconds and on SIGHUP, and handed to
// those who open or accept connections. What stands is not touched; a set of files that cannot be used leaves the last good one.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../core/clock.ts';
import { toAppError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/logger.ts';
import { readTlsFiles, type TlsFilePaths, type TlsMaterial } from './tls-files.ts';

export interface TlsIdentityOptions {
  readonly files: TlsFilePaths;
  /** Between two looks at the files. */
  readonly intervalMs: number;
}

export interface TlsIdentityDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

/** A certificate that ends sooner than this is not being renewed. */
const ENDS_SOON_MS = 7 * 86_400_000;
const DAY_MS = 86_400_000;

export class TlsIdentity {
  readonly #options: TlsIdentityOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #listeners = new Set<(material: TlsMaterial) => void>();
  readonly #reloads: Counter<'outcome'>;
  readonly #successful: Gauge;
  readonly #over = new AbortController();
  #material: TlsMaterial;
  #complaint = '';
  /** Looks in a row at which the files could not be used. */
  #failures = 0;
  #warnedAtMs = Number.NEGATIVE_INFINITY;
  #reloading: Promise<void> | undefined;

  private constructor(options: TlsIdentityOptions, material: TlsMaterial, deps: TlsIdentityDeps) {
    this.#options = options;
    this.#material = material;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    const registers = [deps.registry];
    const identity = (): TlsMaterial => this.#material;
    new Gauge({
      name: 'tidemark_tls_certificate_expiry_timestamp_seconds',
      help: 'When the certificate of this process (own), or the first of the authorities it trusts (authority), ends.',
      labelNames: ['certificate'],
      registers,
      collect() {
        this.set({ certificate: 'own' }, identity().certEndsMs / 1_000);
        this.set({ certificate: 'authority' }, identity().caEndsMs / 1_000);
      },
    });
    this.#reloads = new Counter({
      name: 'tidemark_tls_reloads_total',
      help: 'Certificate files that had changed: loaded, or refused, in which case the ones before stay in use.',
      labelNames: ['outcome'],
      registers,
    });
    for (const outcome of ['loaded', 'refused']) this.#reloads.inc({ outcome }, 0);
    this.#successful = new Gauge({
      name: 'tidemark_tls_last_reload_successful',
      help: 'Whether the certificate files as they are now could be used.',
      registers,
    });
    this.#successful.set(1);
  }

  /**
   * Reads the files for the first time.
   *
   * @throws AppError `bad_data` when they cannot be used.
   */
  static async open(options: TlsIdentityOptions, deps: TlsIdentityDeps): Promise<TlsIdentity> {
    const material = await readTlsFiles(options.files, deps.clock.nowMs());
    return new TlsIdentity(options, material, deps);
  }

  /** For connections that begin now. */
  get material(): TlsMaterial {
    return this.#material;
  }

  /** Calls back at each change, until the returned function is called. */
  onChange(listener: (material: TlsMaterial) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Looks at the files from time to time, until `stop`. */
  start(): void {
    this.#watch().catch((caught: unknown) => {
      if (!this.#over.signal.aborted)
        this.#logger.error({ err: toAppError(caught) }, 'certificates are not read any more');
    });
  }

  stop(): void {
    this.#over.abort();
    this.#listeners.clear();
  }

  /** Reads the files now. Never throws: what cannot be used is logged and counted. */
  reload(): Promise<void> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  async #watch(): Promise<void> {
    for (;;) {
      await this.#clock.sleep(this.#options.intervalMs, this.#over.signal);
      await this.reload();
    }
  }

  async #reload(): Promise<void> {
    try {
      const material = await readTlsFiles(this.#options.files, this.#clock.nowMs());
      this.#successful.set(1);
      this.#complaint = '';
      this.#failures = 0;
      if (material.digest !== this.#material.digest) this.#use(material);
    } catch (caught) {
      this.#refuse(toAppError(caught).message);
    }
    this.#warnOfEnd();
  }

  #use(material: TlsMaterial): void {
    this.#material = material;
    this.#reloads.inc({ outcome: 'loaded' });
    this.#logger.info(
      { ends: new Date(material.certEndsMs).toISOString() },
      'new certificates are in use for new connections',
    );
    for (const listener of this.#listeners) listener(material);
  }

  /** Files that are being replaced do not fit together for a moment: the second look counts. One line per reason, as there are many looks. */
  #refuse(reason: string): void {
    if (++this.#failures < 2) return;
    this.#successful.set(0);
    if (reason === this.#complaint) return;
    this.#complaint = reason;
    this.#reloads.inc({ outcome: 'refused' });
    this.#logger.error({ reason }, 'certificate files cannot be used, the ones before stay in use');
  }

  #warnOfEnd(): void {
    const nowMs = this.#clock.nowMs();
    if (this.#material.certEndsMs - nowMs > ENDS_SOON_MS || nowMs - this.#warnedAtMs < DAY_MS) return;
    this.#warnedAtMs = nowMs;
    this.#logger.warn(
      { file: this.#options.files.cert, ends: new Date(this.#material.certEndsMs).toISOString() },
      'the certificate of this process ends soon and was not renewed; once it has ended no service lets this one in',
    );
  }
}
