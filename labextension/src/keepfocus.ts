const CAN_HAVE_IT = 'button, a[href], input, select, textarea, [tabindex="0"]';

/**
 * Keep the keyboard in an element when what had it goes away, as a button does when its work is done: without this
 * the browser sends it back to the top of the page. It goes to what took the place in the nearest surroundings that are
 * left, else to the next thing to do after them, else to the last one before.
 *
 * @returns ends it
 */
export function keepFocus(root: HTMLElement): () => void {
  /** What has the focus and what it is in, from the inside out, with how many things to do come before it in there. */
  let path: { element: Element; before: number }[] = [];

  const noteFocus = (event: FocusEvent): void => {
    path = [];
    const target = event.target as Element;
    for (let e: Element | null = target; e !== null && root.contains(e); e = e.parentElement) {
      path.push({ element: e, before: things(e).filter(other => isBefore(other, target)).length });
    }
  };
  const letGo = (event: Event): void => {
    if (!root.contains(event.target as Node)) {
      path = [];
    }
  };
  const look = (): void => {
    const nobody = document.activeElement === null || document.activeElement === document.body;
    if (path[0]?.element.isConnected !== false || !nobody) {
      return;
    }
    const left = path.find(({ element }) => element.isConnected && root.contains(element));
    if (left !== undefined) {
      successor(root, left.element, left.before)?.focus();
    }
  };

  const observer = new MutationObserver(look);
  observer.observe(root, { childList: true, subtree: true });
  document.addEventListener('focusin', letGo);
  document.addEventListener('pointerdown', letGo);
  root.addEventListener('focusin', noteFocus);
  return () => {
    observer.disconnect();
    document.removeEventListener('focusin', letGo);
    document.removeEventListener('pointerdown', letGo);
    root.removeEventListener('focusin', noteFocus);
  };
}

function successor(root: HTMLElement, left: Element, before: number): HTMLElement | undefined {
  const inside = things(left);
  const all = things(root);
  return inside[Math.min(before, inside.length - 1)] ?? all.find(e => isBefore(left, e)) ?? all.at(-1);
}

function things(where: Element): HTMLElement[] {
  return [...where.querySelectorAll<HTMLElement>(CAN_HAVE_IT)];
}

function isBefore(one: Element, other: Element): boolean {
  return Boolean(one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);
}
