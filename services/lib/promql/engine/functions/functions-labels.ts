// label_replace and label_join: functions that change label sets and never look at values.
import { RE2JS, RE2JSException } from 're2js';
import { AppError } from '../../../core/errors.ts';
import { type Labels, METRIC_NAME } from '../../../model/labels.ts';
import { checkRegexCost } from '../../../model/regex-program.ts';
import type { Call } from '../../ast.ts';
import { stringArgument } from '../expressions.ts';
import type { Grid } from '../grid.ts';
import { mergeSameLabels } from '../names.ts';
import type { SeriesMeta, StepColumn, VectorOperand } from '../operand.ts';
import { Declined } from '../parts/partial.ts';
import type { Evaluator } from '../session.ts';

/** Opens label_replace(v, dst, replacement, src, regex). */
export async function openLabelReplace(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const destination = stringArgument(call, 1);
  const replacement = stringArgument(call, 2);
  const source = stringArgument(call, 3);
  const pattern = compileAnchored(stringArgument(call, 4));
  if (destination === '') throw invalidLabel('destination', 'label_replace', destination);
  const names = pattern.namedGroups();
  const input = await evaluator.vector(call.args[0]!, grid);
  refuseOverwriting(evaluator, call, destination, input.series);
  const series = input.series.map((meta) => {
    const matcher = pattern.matcher(meta.labels.get(source));
    if (!matcher.matches()) return meta;
    const groups: string[] = [];
    for (let i = 0; i <= matcher.groupCount(); i++) groups.push(matcher.group(i) ?? '');
    return relabelled(meta, destination, expandTemplate(replacement, groups, names));
  });
  return mergeSameLabels(evaluator.session, new RelabelledOperand(series, input), grid);
}

/** Opens label_join(v, dst, separator, src…). */
export async function openLabelJoin(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const destination = stringArgument(call, 1);
  const separator = stringArgument(call, 2);
  const sources: string[] = [];
  for (let i = 3; i < call.args.length; i++) {
    const source = stringArgument(call, i);
    if (source === '') throw invalidLabel('source', 'label_join', source);
    sources.push(source);
  }
  if (destination === '') throw invalidLabel('destination', 'label_join', destination);
  const input = await evaluator.vector(call.args[0]!, grid);
  refuseOverwriting(evaluator, call, destination, input.series);
  const series = input.series.map((meta) =>
    relabelled(meta, destination, sources.map((name) => meta.labels.get(name)).join(separator)),
  );
  return mergeSameLabels(evaluator.session, new RelabelledOperand(series, input), grid);
}

/**
 * A new label keeps different label sets different. One that is overwritten may make them equal to sets that another part
 * has: unless the merge compares them, because the call is the part's root, the part declines.
 */
function refuseOverwriting(
  { session }: Evaluator,
  call: Call,
  destination: string,
  series: readonly SeriesMeta[],
): void {
  if (session.partRoot === undefined || session.partRoot === call) return;
  if (!series.some(({ labels }) => labels.has(destination))) return;
  throw new Declined(`${call.func}() overwrites the label ${destination}`);
}

function invalidLabel(which: string, func: string, name: string): AppError {
  return new AppError('execution', `invalid ${which} label name in ${func}(): ${name}`);
}

function relabelled(meta: SeriesMeta, name: string, value: string): SeriesMeta {
  const labels: Labels = meta.labels.with(name, value);
  // A name that was set on purpose stays.
  return { labels, dropName: name === METRIC_NAME ? false : meta.dropName };
}

function compileAnchored(regex: string): RE2JS {
  try {
    checkRegexCost(regex, RE2JS.DOTALL);
    return RE2JS.compile(regex, RE2JS.DOTALL);
  } catch (caught) {
    if (!(caught instanceof RE2JSException)) throw caught;
    throw new AppError('execution', `invalid regular expression in label_replace(): ${regex}`, {
      cause: caught,
    });
  }
}

/**
 * Go's Regexp.Expand: `$1`, `$name`, `${name}`, `$$`; a name is as long as it can be, and unknown ones are empty.
 *
 * @param groups  Text of each group; empty where it did not take part.
 */
export function expandTemplate(
  template: string,
  groups: readonly string[],
  names: Readonly<Record<string, number>>,
): string {
  let out = '';
  let at = 0;
  for (;;) {
    const dollar = template.indexOf('$', at);
    if (dollar < 0) return out + template.slice(at);
    out += template.slice(at, dollar);
    at = dollar + 1;
    if (template[at] === '$') {
      out += '$';
      at++;
      continue;
    }
    const match = /^(?:\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))/u.exec(template.slice(at));
    if (match === null) {
      out += '$';
      continue;
    }
    at += match[0].length;
    const name = (match[1] ?? match[2])!;
    const index = /^\d+$/.test(name) ? Number(name) : Object.hasOwn(names, name) ? names[name]! : -1;
    out += groups[index] ?? '';
  }
}

/** The input's columns under other labels. */
class RelabelledOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;

  constructor(series: readonly SeriesMeta[], input: VectorOperand) {
    this.series = series;
    this.#input = input;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
  }
}
