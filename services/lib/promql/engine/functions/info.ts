// info(v, {…}): adds the data labels of info series (target_info and its kin) to series with the same job and instance.
import { AppError } from '../../../core/errors.ts';
import { type Labels, METRIC_NAME, printLabelSet } from '../../../model/labels.ts';
import { compileMatcher, type Matcher, matchesEmpty } from '../../../model/matcher.ts';
import type { Call, Expr, VectorSelector } from '../../ast.ts';
import { referenceTimes } from '../durations.ts';
import { unwrap } from '../expressions.ts';
import type { Grid } from '../grid.ts';
import { sameLabelsError } from '../names.ts';
import { ABSENT, hasValues, type SeriesMeta, StepColumn, type VectorOperand } from '../operand.ts';
import { openSelector } from '../select/selector.ts';
import type { Evaluator, QuerySession } from '../session.ts';
import { StepTable, StoredOperand, type StoredVector, storeVector } from '../step-table.ts';

const DEFAULT_INFO_METRIC = 'target_info';
const ANY_INFO_METRIC = '.+_info';

/** Labels that tie an info series to others. Fixed, as in Prometheus. */
const IDENTIFYING = ['instance', 'job'];

interface InfoSelector {
  readonly names: readonly Matcher[];
  readonly labels: readonly Matcher[];
}

/** Opens info(v) or info(v, {selector}). */
export async function openInfo(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const { session } = evaluator;
  const selector = infoSelector(call);
  const before = session.samplesCurrent;
  const input = await evaluator.vector(call.args[0]!, grid);
  const column = new StepColumn(grid.steps);
  const base = await storeVector(session, input, column);
  const isInfo = base.series.map(({ labels }) => matchesAll(selector.names, labels.get(METRIC_NAME)));
  const info = await fetchInfo(session, selector, base, isInfo, unwrap(call.args[0]!), grid);
  const join = new InfoJoin(session, selector, base, info, grid.steps);
  for (let row = 0; row < base.series.length; row++) {
    if (session.isSliceOver()) await session.pause();
    if (isInfo[row] === true) join.pass(row);
    else join.enrich(row);
  }
  session.settleSamples(before, join.held);
  return new StoredOperand(join.result());
}

function infoSelector(call: Call): InfoSelector {
  const argument = call.args.length > 1 ? unwrap(call.args[1]!) : undefined;
  const matchers = argument?.kind === 'vector-selector' ? argument.matchers : [];
  const names = matchers.filter(({ name }) => name === METRIC_NAME);
  const labels = matchers.filter(({ name }) => name !== METRIC_NAME);
  if (names.length === 0) names.push({ name: METRIC_NAME, operator: '=', value: DEFAULT_INFO_METRIC });
  // What a name is not does not make it an info metric.
  else if (!names.some(isPositive)) names.push({ name: METRIC_NAME, operator: '=~', value: ANY_INFO_METRIC });
  return { names, labels };
}

function isPositive(matcher: Matcher): boolean {
  return matcher.operator === '=' || matcher.operator === '=~';
}

function matchesAll(matchers: readonly Matcher[], value: string): boolean {
  return matchers.every((matcher) => compileMatcher(matcher)(value));
}

/** Info series that may belong to a base series; values are the times of their samples, milliseconds. */
async function fetchInfo(
  session: QuerySession,
  selector: InfoSelector,
  base: StoredVector,
  isInfo: readonly boolean[],
  expr: Expr,
  grid: Grid,
): Promise<StoredVector> {
  const matchers = [...selector.names, ...selector.labels];
  let identified = false;
  for (const name of IDENTIFYING) {
    const values = new Set<string>();
    base.series.forEach(({ labels }, row) => {
      if (isInfo[row] !== true && labels.get(name) !== '') values.add(labels.get(name));
    });
    if (values.size === 0) continue;
    identified = true;
    matchers.push({ name, operator: '=~', value: [...values].map(quoteRegex).join('|') });
  }
  const column = new StepColumn(grid.steps);
  if (!identified) return { series: [], table: new StepTable(session, grid.steps) };
  const reference = firstSelector(expr);
  const infoSeries: VectorSelector = {
    kind: 'vector-selector',
    name: '',
    matchers,
    offset: undefined,
    at: undefined,
    extension: undefined,
    pos: expr.pos,
  };
  const times = reference === undefined ? grid : infoTimes(session, reference, grid);
  return storeVector(session, await openSelector(session, infoSeries, times, 'time-ms'), column);
}

/** `@` and `offset` of what is enriched hold for the info series too. */
function infoTimes(session: QuerySession, path: readonly Timed[], grid: Grid): Grid {
  let startMs = grid.startMs;
  let stepMs = grid.stepMs;
  for (const node of path) {
    const times = referenceTimes(session, node, { startMs, stepMs, steps: grid.steps });
    startMs = times.firstMs;
    stepMs = times.stepMs;
  }
  return { startMs, stepMs, steps: grid.steps, tally: grid.tally };
}

type Timed = Pick<VectorSelector, 'at' | 'offset'>;

/** Subqueries and the first selector that the expression reads, from the outside in. */
function firstSelector(expr: Expr): readonly Timed[] | undefined {
  switch (expr.kind) {
    case 'vector-selector':
      return [expr];
    case 'matrix-selector':
      return [expr.vector];
    case 'subquery': {
      const inner = firstSelector(expr.expr);
      return inner === undefined ? undefined : [expr, ...inner];
    }
    case 'paren':
    case 'unary':
    case 'aggregation':
      return firstSelector(expr.expr);
    case 'binary':
      return firstSelector(expr.left) ?? firstSelector(expr.right);
    case 'call':
      for (const argument of expr.args) {
        const found = firstSelector(argument);
        if (found !== undefined) return found;
      }
      return undefined;
    case 'number':
    case 'string':
      return undefined;
  }
}

function quoteRegex(text: string): string {
  return text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&');
}

/** Result rows of info(). */
class InfoJoin {
  held = 0;
  readonly #base: StoredVector;
  readonly #info: StoredVector;
  readonly #steps: number;
  readonly #table: StepTable;
  readonly #series: SeriesMeta[] = [];
  readonly #rows = new Map<string, number>();
  readonly #infoRows = new Map<string, number[]>();
  readonly #dataLabels: ReadonlySet<string>;
  readonly #needsMatch: boolean;

  constructor(
    session: QuerySession,
    selector: InfoSelector,
    base: StoredVector,
    info: StoredVector,
    steps: number,
  ) {
    this.#base = base;
    this.#info = info;
    this.#steps = steps;
    this.#table = new StepTable(session, steps);
    this.#dataLabels = new Set(selector.labels.map(({ name }) => name));
    this.#needsMatch = !selector.labels.every(matchesEmpty);
    for (let row = 0; row < info.series.length; row++) {
      if (!hasValues(info.table.kinds(row), info.table.offset(row), steps)) continue;
      const key = identityOf(info.series[row]!.labels);
      const rows = this.#infoRows.get(key);
      if (rows === undefined) this.#infoRows.set(key, [row]);
      else rows.push(row);
    }
  }

  /** An info series itself stays as it is. */
  pass(row: number): void {
    const meta = this.#base.series[row]!;
    for (let k = 0; k < this.#steps; k++) {
      if (this.#isPresent(this.#base, row, k)) this.#put(meta, row, k);
    }
  }

  enrich(row: number): void {
    const meta = this.#base.series[row]!;
    const candidates = this.#infoRows.get(identityOf(meta.labels)) ?? [];
    const known = new Map<string, SeriesMeta>();
    for (let k = 0; k < this.#steps; k++) {
      if (!this.#isPresent(this.#base, row, k)) continue;
      const matched = this.#newestPerMetric(candidates, k);
      if (matched.length === 0 && this.#needsMatch) continue;
      const key = matched.join();
      let enriched = known.get(key);
      if (enriched === undefined) {
        enriched = { labels: this.#enrichedLabels(meta.labels, matched), dropName: meta.dropName };
        known.set(key, enriched);
      }
      this.#put(enriched, row, k);
    }
  }

  result(): StoredVector {
    return { series: this.#series, table: this.#table };
  }

  #isPresent(vector: StoredVector, row: number, step: number): boolean {
    return vector.table.kinds(row)[vector.table.offset(row) + step] !== ABSENT;
  }

  #timeOf(row: number, step: number): number {
    return this.#info.table.values(row)[this.#info.table.offset(row) + step]!;
  }

  /** Of each info metric the series with the newest sample. */
  #newestPerMetric(candidates: readonly number[], step: number): number[] {
    const newest = new Map<string, number>();
    for (const row of candidates) {
      if (!this.#isPresent(this.#info, row, step)) continue;
      const name = this.#info.series[row]!.labels.get(METRIC_NAME);
      const other = newest.get(name);
      if (other !== undefined && this.#timeOf(other, step) > this.#timeOf(row, step)) continue;
      if (other !== undefined && this.#timeOf(other, step) === this.#timeOf(row, step)) {
        throw this.#duplicate(other, row, step);
      }
      newest.set(name, row);
    }
    return [...newest.values()];
  }

  #duplicate(first: number, second: number, step: number): AppError {
    const timeMs = this.#timeOf(first, step);
    return new AppError(
      'execution',
      `found duplicate series for info metric: existing ${printLabelSet(this.#info.series[first]!.labels)} @ ${timeMs}, ` +
        `new ${printLabelSet(this.#info.series[second]!.labels)} @ ${timeMs}`,
    );
  }

  #enrichedLabels(base: Labels, infoRows: readonly number[]): Labels {
    const added = new Map<string, string>();
    for (const row of infoRows) {
      for (const [name, value] of this.#info.series[row]!.labels.entries()) {
        if (name === METRIC_NAME || base.has(name)) continue;
        if (this.#dataLabels.size > 0 && !this.#dataLabels.has(name)) continue;
        const known = added.get(name);
        if (known !== undefined && known !== value) {
          throw new AppError('execution', `conflicting label: ${name}`);
        }
        added.set(name, value);
      }
    }
    let labels = base;
    for (const [name, value] of added) labels = labels.with(name, value);
    return labels;
  }

  #put(meta: SeriesMeta, baseRow: number, step: number): void {
    let row = this.#rows.get(meta.labels.key);
    if (row === undefined) {
      row = this.#table.addRow();
      this.#rows.set(meta.labels.key, row);
      this.#series.push(meta);
    }
    const at = this.#table.offset(row) + step;
    const kinds = this.#table.kinds(row);
    if (kinds[at] !== ABSENT) throw sameLabelsError();
    const from = this.#base.table.offset(baseRow) + step;
    const histogram = this.#base.table.histogramAt(baseRow, step);
    if (histogram !== undefined) this.#table.putHistogram(row, step, histogram);
    kinds[at] = this.#base.table.kinds(baseRow)[from]!;
    this.#table.values(row)[at] = this.#base.table.values(baseRow)[from]!;
    this.held++;
  }
}

function identityOf(labels: Labels): string {
  return IDENTIFYING.map((name) => `${labels.get(name).length}:${labels.get(name)}`).join();
}
