// Questions whose answers a cluster and one process are compared by: fixed times, sorted answers.
import { type ConstantQuery, sortedData } from './cluster-load.ts';
import { callApi } from './tidemark.ts';

export type Question = Omit<ConstantQuery, 'expected'>;

/** A range of time, Unix seconds. */
export interface QuestionRange {
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

export function rangeQuestion(query: string, { start, end, step }: QuestionRange): Question {
  const parameters = { query, start: String(start), end: String(end), step: String(step) };
  return { endpoint: 'query_range', parameters };
}

export function instantQuestion(query: string, time: number): Question {
  return { endpoint: 'query', parameters: { query, time: String(time) } };
}

/** What a server answers to each; errors as they come. */
export async function ask(url: string, questions: readonly Question[]): Promise<ConstantQuery[]> {
  const answers: ConstantQuery[] = [];
  for (const { endpoint, parameters } of questions) {
    const { body } = await callApi(url, endpoint, parameters);
    const expected = body.status === 'success' ? sortedData(body.data) : body;
    answers.push({ endpoint, parameters, expected });
  }
  return answers;
}
