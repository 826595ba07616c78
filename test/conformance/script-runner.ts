// Runs a test script as Prometheus' own runner does: every instant query also with `@` on all of its selectors, at other times,
// and as the middle step of a range query.
import { AppError } from '../../services/lib/core/errors.ts';
import type { Expr } from '../../services/lib/promql/ast.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { printExpr } from '../../services/lib/promql/parse/printer.ts';
import { pinSelectors } from './pinned-query.ts';
import {
  type Answer,
  at,
  checkAnnotations,
  compare,
  compareVector,
  describe,
  requireMatch,
  requireSorted,
} from './script-answer.ts';
import { type Command, type EvalCommand, parseScript } from './script-parser.ts';
import { memorySubject, type ScriptSubject, seriesOf } from './script-subject.ts';

/** Outcome of one eval command. */
export interface CaseResult {
  readonly line: number;
  readonly query: string;
  /** Why it failed; undefined when it passed. */
  readonly failure: string | undefined;
}

/** Runs all commands of a script. @param subject  Default: the engine over series in memory. Left with what was loaded last. */
export function runScript(text: string, subject: ScriptSubject = memorySubject()): Promise<CaseResult[]> {
  return runCommands(parseScript(text), subject);
}

/** Runs commands of one or several scripts. */
export async function runCommands(
  commands: readonly Command[],
  subject: ScriptSubject,
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  let cases: EvalCommand[] = [];
  const runCases = async (): Promise<void> => {
    results.push(...(await runAll(subject, cases)));
    cases = [];
  };
  for (const command of commands) {
    if (command.kind === 'eval') {
      cases.push(command);
      continue;
    }
    await runCases();
    if (command.kind === 'clear') await subject.clear();
    else await subject.load(seriesOf(command));
  }
  await runCases();
  return results;
}

/** Cases over the same series, several at once; the results in the cases' order. */
async function runAll(subject: ScriptSubject, cases: readonly EvalCommand[]): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < cases.length) {
      const index = next++;
      results[index] = await runCase(subject, cases[index]!);
    }
  };
  await Promise.all(Array.from({ length: subject.concurrency }, work));
  return results;
}

async function runCase(subject: ScriptSubject, command: EvalCommand): Promise<CaseResult> {
  const { line, query } = command;
  try {
    await new Case(subject, command).run();
    return { line, query, failure: undefined };
  } catch (caught) {
    return { line, query, failure: caught instanceof Error ? caught.message : String(caught) };
  }
}

class Case {
  readonly #subject: ScriptSubject;
  readonly #command: EvalCommand;

  constructor(subject: ScriptSubject, command: EvalCommand) {
    this.#subject = subject;
    this.#command = command;
  }

  async run(): Promise<void> {
    const command = this.#command;
    const expr = await this.#parse();
    if (expr === undefined) return;
    if (command.isRange) {
      await this.#check(expr, command.query, command.startMs, command.endMs, command.stepMs);
      return;
    }
    const timeMs = command.rangeVector?.endMs ?? command.startMs;
    await this.#runInstant(expr, command.query, timeMs);
    const pinned = pinSelectors(expr, timeMs);
    if (pinned === undefined) return;
    const text = printExpr(pinned);
    const others = timeMs === 0 ? [-1000, 0, 1000] : [-10 * timeMs, 0, timeMs / 5, timeMs, 10 * timeMs];
    for (const [index, other] of others.entries()) {
      if (this.#subject.asksPinned(index)) await this.#runInstant(pinned, text, Math.trunc(other));
    }
  }

  /** Undefined when the query was expected not to parse. */
  async #parse(): Promise<Expr | undefined> {
    const { query, fail, startMs } = this.#command;
    try {
      return parseExpr(query, ALL_FEATURES);
    } catch (caught) {
      if (!(caught instanceof AppError) || fail === undefined) throw caught;
      requireMatch('error', [fail], [caught.message]);
    }
    const words = await this.#subject.refuse?.(query, startMs);
    if (words !== undefined) requireMatch('error', [fail], [words]);
    return undefined;
  }

  async #runInstant(expr: Expr, text: string, timeMs: number): Promise<void> {
    const command = this.#command;
    const result = await this.#check(expr, text, timeMs, timeMs, 0);
    if (result === undefined || command.rangeVector !== undefined || command.text !== undefined) return;
    if (/(start|end|range|step)\(\)/.test(command.query)) return;
    const range = await this.#execute(expr, text, timeMs - 60_000, timeMs + 60_000, 60_000);
    if (command.ordered) return;
    requireSorted(range.series);
    compareVector(
      command,
      at(range, timeMs),
      result.type === 'scalar',
      'as the middle step of a range query: ',
    );
  }

  async #check(
    expr: Expr,
    text: string,
    startMs: number,
    endMs: number,
    stepMs: number,
  ): Promise<Answer | undefined> {
    const command = this.#command;
    let result: Answer;
    try {
      result = await this.#execute(expr, text, startMs, endMs, stepMs);
    } catch (caught) {
      if (!(caught instanceof AppError) || command.fail === undefined) throw caught;
      requireMatch('error', [command.fail], [caught.message]);
      return undefined;
    }
    const when = stepMs === 0 ? `at ${startMs} ms: ` : '';
    if (command.fail !== undefined) throw new Error(`${when}expected an error, got ${describe(result)}`);
    checkAnnotations(command, result, this.#subject.parses && text !== command.query);
    compare(command, result, when);
    return result;
  }

  #execute(expr: Expr, text: string, startMs: number, endMs: number, stepMs: number): Promise<Answer> {
    return this.#subject.evaluate({ expr, query: this.#command.query, text, startMs, endMs, stepMs });
  }
}
