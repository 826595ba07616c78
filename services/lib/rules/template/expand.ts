// The door to templates: parse once when a rule file is loaded, expand at each evaluation. Execution is synchronous; a
// template that queries is run again once the answer is there, so that the interpreter needs no awaits.
import { AppError, toAppError } from '../../core/errors.ts';
import type { TemplateTree } from './ast.ts';
import { executeTemplate, QueryNeeded } from './execute.ts';
import { createFunctions, FUNCTION_NAMES } from './functions.ts';
import { parseTemplate } from './parser.ts';
import { createLabelMap, createSample, TemplateList, TemplateStruct, type Value } from './values.ts';

/** Most different queries of one rule evaluation's templates. */
export const TEMPLATE_QUERIES_MAX = 1000;

/** Variables that Prometheus defines before the text of an alert's template; they count in error positions. */
const ALERT_PRELUDE =
  '{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}';

/** A template ready to be expanded any number of times. */
export interface Template {
  readonly tree: TemplateTree;
  /** The text holds no action: it is its own expansion. */
  readonly literal: string | undefined;
}

/** A sample that a template's query found. */
export interface TemplateSample {
  readonly labels: Iterable<readonly [string, string]>;
  readonly value: number;
}

/** What alert templates are expanded with. */
export interface AlertTemplateData {
  readonly labels: Iterable<readonly [string, string]>;
  readonly externalLabels: Iterable<readonly [string, string]>;
  readonly externalUrl: string;
  readonly value: number;
}

/** One evaluation's world: time, and queries answered at that time, each asked once. */
export interface TemplateContext {
  readonly nowMs: number;
  readonly externalUrl: string;
  readonly queries: TemplateQueries;
}

/**
 * Parses an alert's label or annotation.
 *
 * @throws AppError `bad_data` in Go's words: `template: __alert_NAME:1: function "x" not defined`.
 */
export function parseAlertTemplate(alertName: string, text: string): Template {
  const literal = text.includes('{{') ? undefined : text;
  const tree = parseTemplate(`__alert_${alertName}`, ALERT_PRELUDE + text, FUNCTION_NAMES);
  return { tree, literal };
}

/**
 * Parses a template that stands by itself: only `.` is defined.
 *
 * @throws AppError `bad_data`.
 */
export function parsePlainTemplate(name: string, text: string): Template {
  return { tree: parseTemplate(name, text, FUNCTION_NAMES), literal: undefined };
}

/** The root of an alert's data. */
export function alertRoot(data: AlertTemplateData): Value {
  return new TemplateStruct(
    'struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }',
    false,
    new Map<string, Value>([
      ['Labels', createLabelMap(data.labels)],
      ['ExternalLabels', createLabelMap(data.externalLabels)],
      ['ExternalURL', data.externalUrl],
      ['Value', data.value],
    ]),
  );
}

/** Answers to the queries of one evaluation's templates. */
export class TemplateQueries {
  readonly #ask: (query: string) => Promise<readonly TemplateSample[]>;
  readonly #answers = new Map<string, TemplateList | AppError>();

  constructor(ask: (query: string) => Promise<readonly TemplateSample[]>) {
    this.#ask = ask;
  }

  /** The answer. @throws QueryNeeded when it has not been fetched; the query's error. */
  get(query: string): TemplateList {
    const answer = this.#answers.get(query);
    if (answer === undefined) throw new QueryNeeded(query);
    if (answer instanceof AppError) throw answer;
    return answer;
  }

  /** Fetches an answer. Errors are kept as answers. */
  async fetch(query: string): Promise<void> {
    if (this.#answers.size >= TEMPLATE_QUERIES_MAX) {
      throw new AppError('execution', `templates ask more than ${TEMPLATE_QUERIES_MAX} queries`);
    }
    try {
      const samples = await this.#ask(query);
      const items = samples.map(({ labels, value }) => createSample(createLabelMap(labels), value));
      this.#answers.set(query, new TemplateList(items));
    } catch (caught) {
      this.#answers.set(query, toAppError(caught));
    }
  }
}

/**
 * Expands a template.
 *
 * @throws AppError `execution` with Go's message: `error executing template __alert_X: template: __alert_X:1:115: …`.
 */
export async function expandTemplate(
  template: Template,
  root: Value,
  context: TemplateContext,
): Promise<string> {
  if (template.literal !== undefined) return template.literal;
  const functions = createFunctions({
    nowMs: context.nowMs,
    externalUrl: context.externalUrl,
    query: (query) => context.queries.get(query),
  });
  for (;;) {
    try {
      return executeTemplate(template.tree, root, functions);
    } catch (caught) {
      if (caught instanceof QueryNeeded) {
        await context.queries.fetch(caught.query);
        continue;
      }
      const { message } = toAppError(caught);
      throw new AppError('execution', `error executing template ${template.tree.name}: ${message}`, {
        cause: caught,
      });
    }
  }
}

/** As `expandTemplate`, but an error becomes the text that Prometheus shows in its place. */
export async function expandOrExplain(
  template: Template,
  root: Value,
  context: TemplateContext,
): Promise<{ readonly text: string; readonly error: AppError | undefined }> {
  try {
    return { text: await expandTemplate(template, root, context), error: undefined };
  } catch (caught) {
    const error = toAppError(caught);
    return { text: `<error expanding template: ${error.message}>`, error };
  }
}
