// Label sets as nodes, and instant results as a table.
import type { LabelSet, QueryData } from './api.ts';
import { element } from './dom.ts';
import { printTime } from './format.ts';

/** Rows that are made at once: more would only make the page slow. */
export const ROWS_MAX = 1000;

/** `metric{name="value", …}` with the parts set apart; all of it text. */
export function labelNodes(labels: LabelSet): HTMLElement {
  const made = element('span', { className: 'labels' });
  const metric = labels.__name__ ?? '';
  if (metric !== '') made.append(element('span', { className: 'metric' }, metric));
  const rest = Object.entries(labels).filter(([name]) => name !== '__name__');
  if (rest.length === 0) {
    if (metric === '') made.append('{}');
    return made;
  }
  made.append('{');
  rest.forEach(([name, value], i) => {
    if (i > 0) made.append(', ');
    made.append(element('span', { className: 'name' }, `${name}=`), JSON.stringify(value));
  });
  made.append('}');
  return made;
}

/** A vector, scalar, string or matrix as rows. */
export function renderTable(data: QueryData): HTMLElement {
  const body = element('tbody');
  for (const [what, value] of rowsOf(data)) {
    const cell = element('td', { className: 'number' });
    value.forEach((line, i) => {
      if (i > 0) cell.append(element('br'));
      cell.append(line);
    });
    body.append(element('tr', {}, element('td', {}, what), cell));
  }
  const head = element(
    'thead',
    {},
    element('tr', {}, element('th', {}, 'Series'), element('th', { className: 'number' }, 'Value')),
  );
  return element('div', { className: 'scroll' }, element('table', {}, head, body));
}

function rowsOf(data: QueryData): [Node, string[]][] {
  switch (data.resultType) {
    case 'vector':
      return data.result.slice(0, ROWS_MAX).map(({ metric, value }) => [labelNodes(metric), [value[1]]]);
    case 'matrix':
      return data.result
        .slice(0, ROWS_MAX)
        .map(({ metric, values }) => [
          labelNodes(metric),
          values.slice(-ROWS_MAX).map(([time, value]) => `${value} @ ${printTime(time)}`),
        ]);
    default:
      return [[document.createTextNode(data.resultType), [data.result[1]]]];
  }
}
