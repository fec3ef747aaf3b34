/** For so long something else may still want the keyboard: a long notebook that is scrolled to its cell first. */
const AT_MOST_MS = 2000;

/**
 * Bring the keyboard into an element, and back into it if somebody else takes it: the command palette gives it back to
 * where it was when it closes, and a notebook takes it then or, while its outputs change, some time later. What the
 * person does goes before all that.
 *
 * @param first What has the keyboard in there; null while there is nothing.
 * @returns ends it
 */
export function takeFocus(root: HTMLElement, first: () => HTMLElement | null): () => void {
  let frame = 0;
  let last: HTMLElement | null = null;
  /** The person is on their way from one thing to do to the next, and perhaps out. */
  let moving = false;

  const take = (): void => {
    frame = 0;
    moving = false;
    if (!root.contains(document.activeElement)) {
      (last?.isConnected ? last : first())?.focus();
    }
  };
  // Once a frame: two that want it must not call each other for ever.
  const look = (event?: FocusEvent): void => {
    if (event?.type === 'focusin' && event.target instanceof HTMLElement && root.contains(event.target)) {
      last = event.target;
    } else if (event?.type === 'focusin' && moving) {
      end();
      return;
    }
    frame ||= requestAnimationFrame(take);
  };
  const press = (event: KeyboardEvent): void => {
    moving = event.key === 'Tab' && root.contains(event.target as Node);
    if (!moving) {
      end();
      return;
    }
    frame ||= requestAnimationFrame(take);
  };
  const end = (): void => {
    cancelAnimationFrame(frame);
    clearTimeout(patience);
    document.removeEventListener('focusin', look, true);
    document.removeEventListener('focusout', look, true);
    document.removeEventListener('keydown', press, true);
    document.removeEventListener('pointerdown', end, true);
  };
  const patience = setTimeout(end, AT_MOST_MS);
  document.addEventListener('focusin', look, true);
  document.addEventListener('focusout', look, true);
  document.addEventListener('keydown', press, true);
  document.addEventListener('pointerdown', end, true);
  look();
  return end;
}
