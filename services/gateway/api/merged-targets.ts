// What several scrapers say of their targets, as one: each active target once, though two have it while it moves, and dropped ones once,
// which every scraper finds.
import type { ActiveTarget, DroppedTarget, TargetsResponse } from '../../lib/wire/contracts.ts';
import { sortedObject } from '../json/json-values.ts';

export interface MergedTargets {
  readonly active: readonly ActiveTarget[];
  readonly dropped: readonly DroppedTarget[];
  /** Per job, those that are not listed included. */
  readonly droppedCounts: Readonly<Record<string, number>>;
  /** What does not work in discovery, each once. */
  readonly problems: readonly { readonly scrapePool: string; readonly problem: string }[];
}

export function mergeTargets(answers: readonly TargetsResponse[]): MergedTargets {
  const droppedCounts: Record<string, number> = Object.create(null);
  for (const answer of answers) {
    // Every scraper finds all targets and counts those that relabelling drops.
    for (const [pool, count] of Object.entries(answer.droppedCounts))
      droppedCounts[pool] = Math.max(droppedCounts[pool] ?? 0, count);
  }
  const problems = answers.flatMap(({ discoveryProblems }) => discoveryProblems);
  return {
    active: onceEach(answers, ({ active }) => active, activeKey, isLater),
    dropped: onceEach(
      answers,
      ({ dropped }) => dropped,
      droppedKey,
      () => false,
    ),
    droppedCounts,
    problems: [...new Map(problems.map((each) => [`${each.scrapePool}\n${each.problem}`, each])).values()],
  };
}

function onceEach<T>(
  answers: readonly TargetsResponse[],
  targetsOf: (answer: TargetsResponse) => readonly T[],
  keyOf: (target: T) => string,
  isBetter: (target: T, than: T) => boolean,
): readonly T[] {
  if (answers.length === 1) return targetsOf(answers[0]!);
  const unique = new Map<string, T>();
  for (const target of answers.flatMap(targetsOf)) {
    const key = keyOf(target);
    const known = unique.get(key);
    if (known === undefined || isBetter(target, known)) unique.set(key, target);
  }
  return [...unique.values()];
}

function activeKey({ scrapePool, labels, scrapeUrl }: ActiveTarget): string {
  return JSON.stringify([scrapePool, scrapeUrl, sortedObject(labels)]);
}

function droppedKey({ scrapePool, discoveredLabels }: DroppedTarget): string {
  return JSON.stringify([scrapePool, sortedObject(discoveredLabels)]);
}

function isLater(target: ActiveTarget, than: ActiveTarget): boolean {
  return target.lastScrapeMs > than.lastScrapeMs;
}
