/** What the pointer, the wheel and the keys do to the time that is shown. */
export interface Moves {
  /** Where the strips begin and how wide they are, in the window. */
  place: () => { left: number; width: number };
  /** By so many pixels of a strip. */
  drag: (pixels: number) => void;
  /** `at`: a share of the strip's width. */
  zoom: (factor: number, at: number) => void;
  move: (share: number) => void;
  end: (first: boolean) => void;
}

const START_PX = 4;
const WHEEL = 0.0015;
/** Where a drag moves the time: what is drawn along it. */
const DRAWN = '.jp-GpuMonitor-axis, .jp-GpuMonitor-strip, .jp-GpuMonitor-line';
/** Where the wheel alone zooms; elsewhere it scrolls, and zooms with Control or Shift. */
const ZOOMED = '.jp-GpuMonitor-axis, .jp-GpuMonitor-line';

function within(target: EventTarget | null, selector: string): boolean {
  return target instanceof Element && target.closest(selector) !== null;
}

export function addGestures(node: HTMLElement, moves: Moves): void {
  addDrag(node, moves);
  node.addEventListener('wheel', event => onWheel(event, moves), { passive: false });
  node.addEventListener('keydown', event => {
    if (!event.defaultPrevented && !event.altKey && !event.metaKey && !event.ctrlKey && onKey(event, moves)) {
      event.preventDefault();
      event.stopPropagation();
    }
  });
}

function addDrag(node: HTMLElement, moves: Moves): void {
  let last: number | null = null;
  let dragged = false;
  node.addEventListener('pointerdown', event => {
    if (event.button === 0 && within(event.target, DRAWN)) {
      last = event.clientX;
      dragged = false;
    }
  });
  node.addEventListener('pointermove', event => {
    if (last === null) {
      return;
    }
    if (!dragged && Math.abs(event.clientX - last) >= START_PX) {
      dragged = true;
      node.setPointerCapture(event.pointerId);
      node.classList.add('jp-mod-dragged');
    }
    if (dragged) {
      moves.drag(last - event.clientX);
      last = event.clientX;
    }
  });
  const stop = (): void => {
    last = null;
    node.classList.remove('jp-mod-dragged');
  };
  node.addEventListener('pointerup', stop);
  node.addEventListener('pointercancel', stop);
}

function onWheel(event: WheelEvent, moves: Moves): void {
  if (!within(event.target, DRAWN)) {
    return;
  }
  const { left, width } = moves.place();
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && !event.shiftKey) {
    event.preventDefault();
    moves.drag(event.deltaX);
  } else if (within(event.target, ZOOMED) || event.ctrlKey || event.shiftKey) {
    event.preventDefault();
    const turned = event.deltaY || event.deltaX;
    moves.zoom(Math.exp(Math.max(-400, Math.min(400, turned)) * WHEEL), (event.clientX - left) / Math.max(1, width));
  }
}

function onKey(event: KeyboardEvent, moves: Moves): boolean {
  if (within(event.target, 'select, input, textarea')) {
    return false;
  }
  const share = event.shiftKey ? 0.5 : 0.1;
  switch (event.key) {
    case 'ArrowLeft':
      moves.move(-share);
      return true;
    case 'ArrowRight':
      moves.move(share);
      return true;
    case '+':
    case '=':
      moves.zoom(0.5, 0.5);
      return true;
    case '-':
      moves.zoom(2, 0.5);
      return true;
    case 'Home':
    case 'End':
      if (within(event.target, '[role=slider]')) {
        moves.end(event.key === 'Home');
        return true;
      }
      return false;
    default:
      return false;
  }
}
