/** An element with its class and text, at the end of its parent. Text is never read as HTML. */
export function add<K extends keyof HTMLElementTagNameMap>(
  parent: Element,
  tag: K,
  className = '',
  text = ''
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) {
    node.className = className;
  }
  if (text) {
    node.textContent = text;
  }
  parent.append(node);
  return node;
}

/** Touches the page only where something changes: most texts stay for many seconds. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function setAttribute(node: Element, name: string, value: string): void {
  if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

export interface ButtonOptions {
  label: string;
  /** Said to those who can't see the sign on it. */
  about?: string;
  onClick: () => void;
}

export function addButton(parent: Element, { label, about, onClick }: ButtonOptions): HTMLButtonElement {
  const button = add(parent, 'button', 'jp-GpuMonitor-button', label);
  button.type = 'button';
  if (about) {
    button.title = about;
    button.setAttribute('aria-label', about);
  }
  button.addEventListener('click', onClick);
  return button;
}

/** A colour or size that the theme gives. */
export function themed(element: Element, name: string): string {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

/** Whether text is light here, so the page is dark. */
export function isDark(element: Element): boolean {
  const text = getComputedStyle(element).color;
  const parts = (text.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  // `rgb(…)` counts to 255, `color(srgb …)` to 1.
  const [r = 0, g = 0, b = 0] = text.startsWith('rgb') ? parts.map(part => part / 255) : parts;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.5;
}
