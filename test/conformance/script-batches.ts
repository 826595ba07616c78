// Script blocks that do not see each other's series, so that they can be loaded at once: between two batches everything has to be
// deleted, which costs a server more than the queries do.
import { compileMatcher, type Matcher } from '../../services/lib/model/matcher.ts';
import type { Expr } from '../../services/lib/promql/ast.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { type Command, parseScript } from './script-parser.ts';
import { type LoadedSeries, seriesOf } from './script-subject.ts';

/** What stands between two `clear` commands, or the ends of a script. */
export interface Block {
  readonly file: string;
  readonly commands: readonly Exclude<Command, { kind: 'clear' }>[];
}

interface Reach extends Block {
  readonly series: readonly LoadedSeries[];
  /** One test for each selector of its queries. */
  readonly selects: readonly ((series: LoadedSeries) => boolean)[];
}

/** The blocks of scripts, `[name, text]` each, in batches: no query of a block selects a series of another of its batch. */
export function batchBlocks(scripts: readonly (readonly [string, string])[]): Block[][] {
  const batches: Reach[][] = [];
  for (const [file, text] of scripts) {
    for (const block of blocksOf(file, text)) {
      const reach = reachOf(block);
      const batch = batches.find((others) =>
        others.every((other) => !sees(reach, other) && !sees(other, reach)),
      );
      if (batch === undefined) batches.push([reach]);
      else batch.push(reach);
    }
  }
  return batches;
}

function blocksOf(file: string, text: string): Block[] {
  const blocks: { file: string; commands: Block['commands'][number][] }[] = [{ file, commands: [] }];
  for (const command of parseScript(text)) {
    if (command.kind === 'clear') blocks.push({ file, commands: [] });
    else blocks.at(-1)!.commands.push(command);
  }
  return blocks.filter(({ commands }) => commands.some(({ kind }) => kind === 'eval'));
}

function reachOf(block: Block): Reach {
  const series: LoadedSeries[] = [];
  const selectors = new Map<string, readonly Matcher[]>();
  for (const command of block.commands) {
    if (command.kind === 'load') series.push(...seriesOf(command));
    else for (const matchers of selectorsIn(command.query)) selectors.set(JSON.stringify(matchers), matchers);
  }
  const selects = [...selectors.values()].map((matchers) => {
    const tests = matchers.map((matcher) => ({ name: matcher.name, accepts: compileMatcher(matcher) }));
    return ({ labels }: LoadedSeries) => tests.every(({ name, accepts }) => accepts(labels.get(name)));
  });
  return { ...block, series, selects };
}

function sees(one: Reach, other: Reach): boolean {
  return one.selects.some((selects) => other.series.some(selects));
}

/** All selectors of a query; none where it is not to parse. */
function selectorsIn(query: string): (readonly Matcher[])[] {
  try {
    return selectorsOf(parseExpr(query, ALL_FEATURES));
  } catch {
    return [];
  }
}

const TARGET_INFO: readonly Matcher[] = [{ name: '__name__', operator: '=', value: 'target_info' }];

/** All selectors of an expression, also that which `info` has unspoken. */
export function selectorsOf(expr: Expr): (readonly Matcher[])[] {
  switch (expr.kind) {
    case 'vector-selector':
      return [expr.matchers];
    case 'matrix-selector':
      return [expr.vector.matchers];
    case 'subquery':
    case 'unary':
    case 'paren':
      return selectorsOf(expr.expr);
    case 'call':
      return [...(expr.func === 'info' ? [TARGET_INFO] : []), ...expr.args.flatMap(selectorsOf)];
    case 'aggregation':
      return [...selectorsOf(expr.expr), ...(expr.param === undefined ? [] : selectorsOf(expr.param))];
    case 'binary':
      return [...selectorsOf(expr.left), ...selectorsOf(expr.right)];
    default:
      return [];
  }
}
