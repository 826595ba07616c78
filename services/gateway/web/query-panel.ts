// The query box, its controls, and the result below: graph or table, or what is wrong.
import { type Answer, ApiError, call, type MatrixSeries, type QueryData } from './api.ts';
import { Completion } from './completion.ts';
import { button, byId, element } from './dom.ts';
import { parseDuration, printDuration, printTime } from './format.ts';
import { createGraph, type Graph, type GraphRange } from './graph.ts';
import { automaticStep, type PanelState, readState, type Tab, writeState } from './state.ts';
import { ROWS_MAX, renderTable } from './table.ts';

/** Lines that a graph can show and a reader can tell apart; the server says when it cut. */
const LINES_MAX = 200;
const EXAMPLES = [
  'up',
  'sum by (job) (up)',
  'rate(process_cpu_seconds_total[1m])',
  'topk(5, scrape_duration_seconds)',
];

export class QueryPanel {
  readonly #box = byId<HTMLTextAreaElement>('expr');
  readonly #run = byId<HTMLButtonElement>('run');
  readonly #range = byId<HTMLInputElement>('range');
  readonly #step = byId<HTMLInputElement>('step');
  readonly #end = byId<HTMLButtonElement>('end-now');
  readonly #refresh = byId<HTMLSelectElement>('refresh');
  readonly #result = byId('result');
  readonly #message = byId('message');
  readonly #notices = byId('notices');
  readonly #summary = byId('summary');
  readonly #progress = byId('progress');
  readonly #completion: Completion;
  #state: PanelState;
  #graph: Graph | undefined;
  #running: AbortController | undefined;
  #timer: number | undefined;

  constructor() {
    this.#state = readState(location.search);
    this.#completion = new Completion(this.#box, () => this.#fitBox());
    this.#listen();
    this.#showState();
    if (this.#state.expr === '') this.#showWelcome();
    else void this.#execute();
  }

  #listen(): void {
    byId('query-form').addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.#running !== undefined) this.#cancel();
      else this.#submit();
    });
    this.#box.addEventListener('input', () => this.#fitBox());
    this.#box.addEventListener('keydown', (event) => {
      if (this.#completion.handleKey(event)) event.preventDefault();
      else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#box.dispatchEvent(new Event('blur'));
        this.#submit();
      }
    });
    for (const tab of ['graph', 'table'] as const) {
      byId(`tab-${tab}`).addEventListener('click', () => this.#change({ tab }));
    }
    this.#range.addEventListener('change', () => {
      this.#change({ rangeSeconds: parseDuration(this.#range.value) ?? this.#state.rangeSeconds });
    });
    this.#step.addEventListener('change', () =>
      this.#change({ stepSeconds: parseDuration(this.#step.value) }),
    );
    const scaleRange = (factor: number) =>
      this.#change({ rangeSeconds: Math.max(10, Math.round(this.#state.rangeSeconds * factor)) });
    byId('range-less').addEventListener('click', () => scaleRange(0.5));
    byId('range-more').addEventListener('click', () => scaleRange(2));
    const moveEnd = (direction: number) => {
      const end = this.#state.endSeconds ?? Date.now() / 1000;
      const moved = end + (direction * this.#state.rangeSeconds) / 2;
      this.#change({ endSeconds: moved >= Date.now() / 1000 ? undefined : Math.round(moved) });
    };
    byId('end-back').addEventListener('click', () => moveEnd(-1));
    byId('end-forward').addEventListener('click', () => moveEnd(1));
    this.#end.addEventListener('click', () => this.#change({ endSeconds: undefined }));
    this.#refresh.addEventListener('change', () => this.#schedule());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => void this.#execute());
    window.addEventListener('popstate', () => {
      this.#state = readState(location.search);
      this.#showState();
      void this.#execute();
    });
  }

  /** Takes what was typed and runs it. */
  #submit(): void {
    this.#change({ expr: this.#box.value });
  }

  /** Changes the state, remembers it in the address, and runs the query. */
  #change(changes: Partial<PanelState>): void {
    this.#state = { ...this.#state, expr: this.#box.value, ...changes };
    this.#showState();
    const address = `${location.pathname}?${writeState(this.#state)}`;
    if (address !== location.pathname + location.search) history.pushState(null, '', address);
    void this.#execute();
  }

  #showState(): void {
    const { expr, tab, rangeSeconds, endSeconds, stepSeconds } = this.#state;
    if (this.#box.value !== expr) this.#box.value = expr;
    this.#fitBox();
    this.#range.value = printDuration(rangeSeconds);
    this.#step.value = stepSeconds === undefined ? '' : printDuration(stepSeconds);
    this.#end.textContent = endSeconds === undefined ? 'now' : printTime(endSeconds);
    for (const name of ['graph', 'table'] as const) {
      byId(`tab-${name}`).setAttribute('aria-selected', String(name === tab));
    }
    byId('graph-controls').hidden = tab !== 'graph';
  }

  /** The box is as high as its text. */
  #fitBox(): void {
    this.#box.style.height = 'auto';
    this.#box.style.height = `${this.#box.scrollHeight + 2}px`;
  }

  #cancel(): void {
    this.#running?.abort();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const seconds = Number(this.#refresh.value);
    if (seconds === 0) return;
    this.#timer = setTimeout(() => {
      if (document.hidden || this.#running !== undefined) this.#schedule();
      else void this.#execute();
    }, seconds * 1000);
  }

  async #execute(): Promise<void> {
    this.#cancel();
    if (this.#state.expr.trim() === '') {
      this.#showWelcome();
      return;
    }
    const running = new AbortController();
    this.#running = running;
    this.#showRunning(true);
    const startedMs = performance.now();
    try {
      const show = await this.#ask(this.#state, running.signal);
      const elapsedMs = performance.now() - startedMs;
      if (this.#running === running) show(elapsedMs);
    } catch (caught) {
      if (this.#running !== running) return;
      if (running.signal.aborted) this.#summary.textContent = 'cancelled';
      else this.#showError(caught);
    } finally {
      if (this.#running === running) {
        this.#running = undefined;
        this.#showRunning(false);
        this.#schedule();
      }
    }
  }

  /** Runs the query; answers the function that shows its result. */
  async #ask(state: PanelState, signal: AbortSignal): Promise<(elapsedMs: number) => void> {
    const tab: Tab = state.tab;
    const endSeconds = state.endSeconds ?? Date.now() / 1000;
    if (tab === 'table') {
      const parameters = { query: state.expr, time: endSeconds.toFixed(3), limit: String(ROWS_MAX) };
      const answer = await call<QueryData>('query', parameters, signal);
      return (elapsedMs) => this.#showTable(answer, elapsedMs);
    }
    const range = rangeOf(state, endSeconds);
    const parameters = {
      query: state.expr,
      start: String(range.startSeconds),
      end: String(range.endSeconds),
      step: String(range.stepSeconds),
      limit: String(LINES_MAX),
    };
    const answer = await call<QueryData>('query_range', parameters, signal);
    return (elapsedMs) => this.#showGraph(answer, range, elapsedMs);
  }

  #showTable(answer: Answer<QueryData>, elapsedMs: number): void {
    const { data } = answer;
    const count = data.resultType === 'vector' || data.resultType === 'matrix' ? data.result.length : 1;
    this.#show(answer, count, elapsedMs, () => renderTable(data));
  }

  #showGraph(answer: Answer<QueryData>, range: GraphRange, elapsedMs: number): void {
    const series = answer.data.resultType === 'matrix' ? answer.data.result : [];
    this.#show(answer, series.length, elapsedMs, () => this.#makeGraph(series, range));
    this.#graph?.mount();
  }

  #makeGraph(series: readonly MatrixSeries[], range: GraphRange): HTMLElement {
    this.#graph = createGraph(series, range, (start, end) => {
      const seconds = Math.max(10, Math.round(end - start));
      this.#change({ endSeconds: Math.round(end), rangeSeconds: seconds, stepSeconds: undefined });
    });
    return this.#graph.node;
  }

  #show(answer: Answer<QueryData>, count: number, elapsedMs: number, make: () => HTMLElement): void {
    this.#clear();
    const notices = [...answer.warnings, ...answer.infos];
    this.#notices.replaceChildren(...notices.map((text) => element('li', {}, text)));
    this.#notices.hidden = notices.length === 0;
    const step = this.#state.tab === 'graph' ? ` · step ${printDuration(stepOf(this.#state))}` : '';
    this.#summary.textContent = `${count} series · ${Math.round(elapsedMs)} ms${step}`;
    this.#result.replaceChildren(count === 0 ? this.#emptyResult() : make());
  }

  #emptyResult(): HTMLElement {
    const hint =
      this.#state.tab === 'graph'
        ? `No samples between ${printTime(rangeOf(this.#state, this.#state.endSeconds ?? Date.now() / 1000).startSeconds)} and the end of the range.`
        : 'No series has a sample at that time.';
    return element('div', { className: 'empty' }, element('p', {}, 'Empty result'), element('p', {}, hint));
  }

  #showWelcome(): void {
    this.#clear();
    this.#summary.textContent = '';
    const chips = element('div', { className: 'chips' });
    for (const example of EXAMPLES) chips.append(button(example, () => this.#runExample(example)));
    this.#result.replaceChildren(
      element(
        'div',
        { className: 'empty' },
        element('p', {}, 'Ask for any metric in PromQL, or begin with one of these'),
        chips,
      ),
    );
  }

  #runExample(example: string): void {
    this.#box.value = example;
    this.#submit();
  }

  #showError(caught: unknown): void {
    this.#clear();
    this.#summary.textContent = '';
    this.#message.textContent =
      caught instanceof ApiError ? caught.message : `The page failed: ${String(caught)}`;
    this.#message.hidden = false;
    this.#result.replaceChildren();
  }

  #clear(): void {
    this.#graph?.destroy();
    this.#graph = undefined;
    this.#message.hidden = true;
    this.#notices.hidden = true;
  }

  #showRunning(isRunning: boolean): void {
    this.#run.textContent = isRunning ? 'Cancel' : 'Run';
    this.#progress.hidden = !isRunning;
    this.#result.classList.toggle('stale', isRunning);
  }
}

function stepOf(state: PanelState): number {
  return state.stepSeconds ?? automaticStep(state.rangeSeconds);
}

/** The range aligned to its step, so that refreshing does not make lines jitter. */
function rangeOf(state: PanelState, endSeconds: number): GraphRange {
  const stepSeconds = stepOf(state);
  const end = Math.floor(endSeconds / stepSeconds) * stepSeconds;
  const steps = Math.floor(state.rangeSeconds / stepSeconds);
  return { startSeconds: end - steps * stepSeconds, endSeconds: end, stepSeconds };
}
