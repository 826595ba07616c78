// Making and finding elements. Text always becomes text nodes: nothing in the page is ever parsed as markup.

type Child = Node | string;

/** An element with properties, attributes by `attributes`, and children. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  options: { readonly className?: string; readonly attributes?: Readonly<Record<string, string>> } = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (options.className !== undefined) made.className = options.className;
  for (const [name, value] of Object.entries(options.attributes ?? {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The element of index.html with this id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no element #${id}`);
  return found as T;
}

/** A button that does something. */
export function button(label: string, onClick: () => void): HTMLButtonElement {
  const made = element('button', { attributes: { type: 'button' } }, label);
  made.addEventListener('click', onClick);
  return made;
}
