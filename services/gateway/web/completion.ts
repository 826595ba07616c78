// Completion of metric and function names in the query box: a small list below it, by keyboard or pointer.
import { call } from './api.ts';
import { byId, element } from './dom.ts';

const FUNCTIONS =
  'abs absent absent_over_time avg avg_over_time bottomk by ceil changes clamp clamp_max clamp_min count count_over_time count_values day_of_month day_of_week delta deriv exp floor group group_left group_right histogram_quantile hour idelta increase irate label_join label_replace last_over_time ln log10 log2 max max_over_time min min_over_time minute month offset on predict_linear quantile quantile_over_time rate resets round scalar sort sort_desc sqrt stddev stddev_over_time sum sum_over_time time timestamp topk unless vector without year'.split(
    ' ',
  );
const SHOWN_MAX = 9;
const NAMES_MAX = 20_000;
const NAMES_AGE_MS = 60_000;
const WORD_BEFORE = /[a-zA-Z_:][a-zA-Z0-9_:]*$/;

interface Candidate {
  readonly name: string;
  readonly kind: string;
}

export class Completion {
  readonly #box: HTMLTextAreaElement;
  readonly #list = byId('completions');
  #names: readonly string[] = [];
  #namesAtMs = Number.NEGATIVE_INFINITY;
  #shown: readonly Candidate[] = [];
  #selected = 0;
  /** Tells the owner that the text changed. */
  readonly #onChange: () => void;

  constructor(box: HTMLTextAreaElement, onChange: () => void) {
    this.#box = box;
    this.#onChange = onChange;
    box.addEventListener('focus', () => void this.#load());
    box.addEventListener('input', () => this.#update());
    box.addEventListener('blur', () => this.#close());
    this.#list.addEventListener('mousedown', (event) => {
      event.preventDefault();
      const row = (event.target as Element).closest('li');
      if (row !== null) this.#accept([...this.#list.children].indexOf(row));
    });
  }

  /** Handles a key while the list is open; true when the key is used up. */
  handleKey(event: KeyboardEvent): boolean {
    if (this.#list.hidden) return false;
    switch (event.key) {
      case 'ArrowDown':
      case 'ArrowUp': {
        const step = event.key === 'ArrowDown' ? 1 : -1;
        this.#selected = (this.#selected + step + this.#shown.length) % this.#shown.length;
        this.#mark();
        return true;
      }
      case 'Tab':
        this.#accept(this.#selected);
        return true;
      case 'Escape':
        this.#close();
        return true;
      default:
        return false;
    }
  }

  async #load(): Promise<void> {
    if (performance.now() - this.#namesAtMs < NAMES_AGE_MS) return;
    this.#namesAtMs = performance.now();
    try {
      this.#names = (await call<string[]>(`label/__name__/values?limit=${NAMES_MAX}`)).data;
    } catch {
      this.#namesAtMs = Number.NEGATIVE_INFINITY;
    }
  }

  #update(): void {
    void this.#load();
    const caret = this.#box.selectionStart;
    const before = this.#box.value.slice(0, caret);
    const word = WORD_BEFORE.exec(before)?.[0] ?? '';
    const rest = this.#box.value.slice(caret);
    if (word.length < 2 || /^[a-zA-Z0-9_:]/.test(rest) || insideQuotes(before)) {
      this.#close();
      return;
    }
    this.#shown = this.#candidates(word);
    this.#selected = 0;
    if (this.#shown.length === 0 || (this.#shown.length === 1 && this.#shown[0]!.name === word)) {
      this.#close();
      return;
    }
    this.#list.replaceChildren(
      ...this.#shown.map(({ name, kind }) =>
        element('li', {}, element('span', {}, name), element('span', { className: 'kind' }, kind)),
      ),
    );
    this.#mark();
    this.#list.hidden = false;
  }

  /** Names that begin with the word, then names that contain it. */
  #candidates(word: string): Candidate[] {
    const wanted = word.toLowerCase();
    const starts: Candidate[] = [];
    const contains: Candidate[] = [];
    const add = (name: string, kind: string): void => {
      const at = name.toLowerCase().indexOf(wanted);
      if (at === 0) starts.push({ name, kind });
      else if (at > 0 && contains.length < SHOWN_MAX) contains.push({ name, kind });
    };
    for (const name of FUNCTIONS) if (name.startsWith(wanted)) starts.push({ name, kind: 'PromQL' });
    for (const name of this.#names) {
      if (starts.length >= SHOWN_MAX) break;
      add(name, 'metric');
    }
    return [...starts, ...contains].slice(0, SHOWN_MAX);
  }

  #accept(index: number): void {
    const chosen = this.#shown[index];
    if (chosen === undefined) return;
    const caret = this.#box.selectionStart;
    const before = this.#box.value.slice(0, caret).replace(WORD_BEFORE, chosen.name);
    this.#box.value = before + this.#box.value.slice(caret);
    this.#box.setSelectionRange(before.length, before.length);
    this.#close();
    this.#onChange();
  }

  #mark(): void {
    [...this.#list.children].forEach((row, i) => {
      row.classList.toggle('selected', i === this.#selected);
    });
  }

  #close(): void {
    this.#list.hidden = true;
  }
}

/** Whether the caret stands inside a string. */
function insideQuotes(before: string): boolean {
  let quote = '';
  for (let i = 0; i < before.length; i++) {
    const char = before[i]!;
    if (quote === '') {
      if (char === '"' || char === "'" || char === '`') quote = char;
    } else if (char === '\\' && quote !== '`') i++;
    else if (char === quote) quote = '';
  }
  return quote !== '';
}
