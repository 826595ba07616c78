// What an import says while it runs and when it ends: bytes, samples, rate, time that is left, and all that was left out.
import type { Clock } from '../../lib/core/clock.ts';
import type { PrometheusFileError } from '../../lib/tsdb/import/prometheus-error.ts';
import type { SenderCounts } from './import-sender.ts';

const LINE_EVERY_MS = 2000;
/** Damages that are told one by one; all are counted. */
const DAMAGES_TOLD_MAX = 50;
/** Damages that are told apart, since a log is read twice. */
const DAMAGES_KNOWN_MAX = 100_000;

export class ImportProgress {
  readonly #clock: Clock;
  readonly #say: (text: string) => void;
  readonly #counts: SenderCounts;
  readonly #startedMs: number;
  readonly #damages = new Set<string>();
  #damageCount = 0;
  #saidMs: number;
  /** Of all parts. */
  totalBytes = 0;
  /** Done in earlier runs. */
  skippedBytes = 0;
  /** Of the parts that are finished. */
  doneBytes = 0;
  /** What else was left out, by reason. */
  readonly leftOut = new Map<string, number>();

  constructor(clock: Clock, counts: SenderCounts, say: (text: string) => void) {
    this.#clock = clock;
    this.#say = say;
    this.#counts = counts;
    this.#startedMs = this.#saidMs = clock.monotonicMs();
  }

  /** Counts what is skipped for being damaged, and says so. */
  readonly damage = (error: PrometheusFileError): void => {
    const key = `${error.file}:${error.offset}`;
    if (this.#damages.has(key)) return;
    if (this.#damages.size < DAMAGES_KNOWN_MAX) this.#damages.add(key);
    this.countDamage(error.message);
  };

  countDamage(what: string): void {
    this.#damageCount++;
    if (this.#damageCount <= DAMAGES_TOLD_MAX) this.#say(`skipped: ${what}\n`);
    if (this.#damageCount === DAMAGES_TOLD_MAX) this.#say('skipped: more, which are counted only\n');
  }

  /** Whether something in the file, or below the folder, was skipped: it is read again next time, and told again. */
  isDamaged(file: string): boolean {
    for (const key of this.#damages) if (key.startsWith(file)) return true;
    return false;
  }

  get damageCount(): number {
    return this.#damageCount;
  }

  countLeftOut(reason: string): void {
    this.leftOut.set(reason, (this.leftOut.get(reason) ?? 0) + 1);
  }

  /** Says how far it is, now and then. @param partBytes  Done of the part under way. */
  tick(part: string, partBytes: number): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#saidMs < LINE_EVERY_MS) return;
    this.#saidMs = nowMs;
    const done = Math.min(this.totalBytes, this.skippedBytes + this.doneBytes + partBytes);
    const here = done - this.skippedBytes;
    const share = this.totalBytes === 0 ? 1 : done / this.totalBytes;
    const elapsedMs = nowMs - this.#startedMs;
    const leftSeconds = here <= 0 ? undefined : ((this.totalBytes - done) / here) * (elapsedMs / 1000);
    const left = leftSeconds === undefined ? '' : `, about ${printSeconds(leftSeconds)} left`;
    this.#say(
      `${(share * 100).toFixed(1)}%  ${printBytes(done)} of ${printBytes(this.totalBytes)}, ${this.#sent()}, ${this.#rate(elapsedMs)}${left}  ${part}\n`,
    );
  }

  /** The last words. */
  summary(): string {
    const elapsedMs = this.#clock.monotonicMs() - this.#startedMs;
    const { exemplars, refused, retries } = this.#counts;
    const lines = [
      `${this.#sent()} written in ${printSeconds(elapsedMs / 1000)}, ${this.#rate(elapsedMs)}`,
      ...(exemplars > 0 ? [`${exemplars} exemplars written`] : []),
      ...(this.skippedBytes > 0 ? [`${printBytes(this.skippedBytes)} were done before`] : []),
      ...(retries > 0 ? [`${retries} requests had to be sent again`] : []),
      ...(refused > 0 ? [`${refused} samples were refused by the server, see above`] : []),
      ...(this.#damageCount > 0 ? [`${this.#damageCount} damaged parts were skipped, see above`] : []),
      ...[...this.leftOut].map(([reason, count]) => `${count} left out: ${reason}`),
    ];
    return `${lines.join('\n')}\n`;
  }

  #sent(): string {
    const { samples, histograms } = this.#counts;
    return histograms === 0 ? `${samples} samples` : `${samples} samples and ${histograms} histograms`;
  }

  #rate(elapsedMs: number): string {
    const { samples, histograms } = this.#counts;
    const perSecond = ((samples + histograms) / Math.max(1, elapsedMs)) * 1000;
    return `${Math.round(perSecond)} samples/s`;
  }
}

function printBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

function printSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
