// The groups that run: which go on, which take over state and which end when the rule files change.
import { type AppError, toAppError } from '../lib/core/errors.ts';
import type { Labels } from '../lib/model/labels.ts';
import type { RuleGroupSpec } from '../lib/rules/rule-file.ts';
import { isSameGroup, RuleGroup, type RuleIo } from '../lib/rules/rule-group.ts';
import { RuleSamples } from '../lib/rules/rule-samples.ts';
import { type GroupOrigin, GroupRunner, type GroupRunnerDeps, groupKey } from './group-runner.ts';

/** Intervals to wait before the series of a removed group get their staleness markers: a renamed group may go on with them. */
const INTERVALS_BEFORE_STALE = 2;

export interface GroupDefaults {
  readonly intervalMs: number;
  readonly queryOffsetMs: number;
}

export interface RuleManagerDeps extends GroupRunnerDeps {
  /** Writes what is left to be said of a group that has ended, as its holder of now. */
  readonly writerOf: (groupKey: string) => RuleIo['write'];
  /** Whether this evaluator evaluates the group of that key; absent: all of them. */
  readonly owns?: ((groupKey: string) => boolean) | undefined;
  /** Whether another live evaluator evaluates the group of that key. */
  readonly othersOwn?: ((groupKey: string) => boolean) | undefined;
  /**
   * Longest time between the last evaluation of an evaluator that dies and the hand-over of its groups, milliseconds. Absent where there is
   * nobody to take a group over from, and an evaluator that was away for so long was alone.
   */
  readonly handOverMs?: number | undefined;
}

export class RuleManager {
  readonly #deps: RuleManagerDeps;
  readonly #stopped = new AbortController();
  #runners = new Map<string, GroupRunner>();
  /** Rules as they were loaded, of groups that others evaluate, too. */
  #loaded: { readonly specs: readonly RuleGroupSpec[]; readonly defaults: GroupDefaults } | undefined;
  #running = false;
  /** Nothing was loaded yet: what is loaded now restores its clocks. */
  #isFirst = true;
  readonly #cleanups = new Set<Promise<void>>();
  /**
   * Groups that other evaluators ran, until they run here: whoever had one may be gone for seconds before the next holder begins, and is to be
   * taken over from all the same.
   */
  #others: ReadonlySet<string> = new Set();
  /** Groups that were there when this process started and that nobody was seen to run since: its former life may have. */
  #unclaimed: Set<string> | undefined;

  constructor(deps: RuleManagerDeps) {
    this.#deps = deps;
  }

  /** Groups sorted by file, then in the file's order. */
  groups(): RuleGroup[] {
    return [...this.#runners.values()].map(({ group }) => group);
  }

  /** Begins to evaluate. */
  start(): void {
    this.#running = true;
    for (const runner of this.#runners.values()) runner.start();
  }

  /** Takes over new rules. Groups that did not change are not disturbed. */
  async update(specs: readonly RuleGroupSpec[], defaults: GroupDefaults): Promise<void> {
    this.#loaded = { specs, defaults };
    await this.#bringInLine(specs, defaults);
  }

  /** Takes on and gives up groups as `owns` says now. The series of groups that are given up go on elsewhere. */
  async rebalance(): Promise<void> {
    if (this.#loaded !== undefined) await this.#bringInLine(this.#loaded.specs, this.#loaded.defaults);
  }

  async #bringInLine(specs: readonly RuleGroupSpec[], defaults: GroupDefaults): Promise<void> {
    const old = this.#runners;
    const next = new Map<string, GroupRunner>();
    const elsewhere = new Set<string>();
    const others = new Set<string>();
    this.#unclaimed ??= new Set(specs.map(({ file, name }) => groupKey(file, name)));
    for (const spec of specs) {
      const key = groupKey(spec.file, spec.name);
      if (this.#deps.owns?.(key) === false) {
        elsewhere.add(key);
        if (this.#deps.othersOwn?.(key) === true) {
          others.add(key);
          this.#unclaimed.delete(key);
        } else if (this.#others.has(key)) others.add(key);
        continue;
      }
      const intervalMs = spec.intervalMs ?? defaults.intervalMs;
      const queryOffsetMs = spec.queryOffsetMs ?? defaults.queryOffsetMs;
      const former = old.get(key);
      if (former !== undefined && isUnchanged(former.group, spec, intervalMs, queryOffsetMs)) {
        next.set(key, former);
        continue;
      }
      // A group that another evaluator had restores its clocks from its series, as after a start.
      const restored = !this.#isFirst && this.#deps.owns === undefined;
      const origin = this.#originOf(key);
      const handOverMs = origin === 'new' ? 0 : (this.#deps.handOverMs ?? 0) + intervalMs;
      const group = new RuleGroup({ spec, intervalMs, queryOffsetMs, restored, handOverMs });
      if (former !== undefined) {
        await former.stop();
        group.copyStateFrom(former.group);
      }
      // One more: what the last evaluation ended has an end only if it was seen before, and that evaluation may not have got to writing it.
      const fromMs = this.#deps.clock.nowMs() - handOverMs - intervalMs;
      next.set(key, new GroupRunner(group, this.#deps, origin, fromMs));
    }
    this.#runners = next;
    this.#others = others;
    this.#isFirst = false;
    if (this.#running) for (const runner of next.values()) runner.start();
    await Promise.all(
      [...old]
        .filter(([key]) => !next.has(key))
        .map(([key, runner]) => this.#remove(key, runner, elsewhere.has(key))),
    );
  }

  /** What was before this process runs the group, which is taken as claimed. */
  #originOf(key: string): GroupOrigin {
    const isUnclaimed = this.#unclaimed?.delete(key) === true;
    if (this.#deps.handOverMs === undefined) return 'new';
    if (this.#others.has(key)) return 'taken-over';
    return isUnclaimed ? 'resumed' : 'new';
  }

  async #remove(key: string, runner: GroupRunner, goesOn: boolean): Promise<void> {
    await runner.stop();
    this.#forgetMetrics(key);
    if (goesOn) return;
    const cleanup = this.#endSeries(runner.group, this.#deps.writerOf(key)).catch((caught: unknown) => {
      if (this.#stopped.signal.aborted) return;
      const error: AppError = toAppError(caught);
      this.#deps.logger.warn({ rule_group: key, err: error }, 'ending the series of a removed group failed');
    });
    this.#cleanups.add(cleanup);
    void cleanup.finally(() => this.#cleanups.delete(cleanup));
  }

  #forgetMetrics(key: string): void {
    const { metrics } = this.#deps;
    const labels = { rule_group: key };
    for (const metric of [
      metrics.evaluations,
      metrics.failures,
      metrics.iterations,
      metrics.iterationsMissed,
      metrics.iterationsMadeUp,
    ]) {
      metric.remove(labels);
    }
    for (const metric of [metrics.lastDuration, metrics.lastEvaluation, metrics.interval, metrics.rules]) {
      metric.remove(labels);
    }
  }

  /** Ends the series of a removed group that no group goes on with, as of its removal. */
  async #endSeries(group: RuleGroup, write: RuleIo['write']): Promise<void> {
    const series = new Map<string, Labels>(group.writtenSeries());
    if (series.size === 0) return;
    const { clock } = this.#deps;
    const removedMs = clock.nowMs();
    await clock.sleep(INTERVALS_BEFORE_STALE * group.intervalMs, this.#stopped.signal);
    for (const running of this.groups()) for (const [key] of running.writtenSeries()) series.delete(key);
    const samples = new RuleSamples();
    for (const labels of series.values()) samples.addStale(labels, removedMs);
    if (samples.count > 0) await write(samples);
  }

  /** Ends all groups. Series stay as they are: another evaluator, or the next start, goes on with them. */
  async stop(): Promise<void> {
    this.#running = false;
    this.#stopped.abort();
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop()));
    await Promise.all(this.#cleanups);
  }
}

function isUnchanged(
  group: RuleGroup,
  spec: RuleGroupSpec,
  intervalMs: number,
  queryOffsetMs: number,
): boolean {
  return (
    group.intervalMs === intervalMs && group.queryOffsetMs === queryOffsetMs && isSameGroup(group.spec, spec)
  );
}
