import type { History, SampleView } from '../_wire';
import { Words } from '../words';
import { english } from './english';
import type { Ask, Subject } from './subject';
import { MonitorView } from './view';

/** What anywidget gives of the Python side. */
interface WidgetModel {
  get(name: string): unknown;
  on(name: string, listener: (...values: never[]) => void): void;
  off(name: string, listener: (...values: never[]) => void): void;
  send(message: object): void;
}

/** How the Python side describes a subject. */
interface SentSubject {
  id: string;
  kind: Subject['kind'];
  title: string;
  detail: string;
  memory_bytes: number | null;
  simulated: boolean;
  remote?: boolean;
  trouble: string;
}

interface SentReadings {
  as_of?: number;
  items?: Record<string, SampleView>;
}

interface Answer {
  kind: string;
  number: number;
  history?: History;
  problem?: string;
}

/** A kernel that computes answers when the cell has ended; what it sent before has to do meanwhile. */
const PATIENCE_MS = 1500;
const AGAIN_MS = 15_000;

/** Asks the kernel, and takes what came along with the widget where the kernel is busy or gone. */
class Questions {
  private readonly open = new Map<number, (answer: Answer) => void>();
  private count = 0;
  private again: number | undefined;

  constructor(
    private readonly model: WidgetModel,
    private readonly onLate: () => void
  ) {
    model.on('msg:custom', this.hear);
  }

  readonly ask: Ask = ({ id }, { from, to }, points, signal) =>
    new Promise((resolve, reject) => {
      const number = ++this.count;
      const timer = window.setTimeout(() => {
        const past = (this.model.get('past') as Record<string, History | undefined>)[id];
        window.clearTimeout(this.again);
        this.again = window.setTimeout(this.onLate, AGAIN_MS);
        if (past) {
          resolve(past);
        } else {
          reject(new Error(english.__('The kernel does not answer; it may be busy.')));
        }
      }, PATIENCE_MS);
      const done = (): void => {
        window.clearTimeout(timer);
        this.open.delete(number);
      };
      this.open.set(number, ({ history, problem }) => {
        done();
        if (history) {
          resolve(history);
        } else {
          reject(new Error(problem ?? ''));
        }
      });
      signal.addEventListener('abort', () => {
        done();
        reject(new DOMException('', 'AbortError'));
      });
      this.model.send({ kind: 'past', number, id, from, to, points });
    });

  dispose(): void {
    window.clearTimeout(this.again);
    this.model.off('msg:custom', this.hear);
    this.open.clear();
  }

  private readonly hear = (answer: Answer): void => {
    if (answer.kind === 'past') {
      this.open.get(answer.number)?.(answer);
    }
  };
}

function subjectOf({ memory_bytes, ...rest }: SentSubject): Subject {
  return { ...rest, memoryBytes: memory_bytes };
}

/** The Monitor in a notebook's output. */
function render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  let skew = 0;
  const questions = new Questions(model, () => view.stale());
  const view = new MonitorView({
    words: new Words(english),
    ask: questions.ask,
    now: () => Date.now() / 1000 + skew,
    span: model.get('span_s') as number,
    lists: model.get('lists') as ('sessions' | 'devices')[],
    open: model.get('opened') as string[]
  });
  view.node.classList.add('jp-mod-output');
  el.append(view.node);

  const onSubjects = (): void =>
    view.setSubjects((model.get('subjects') as SentSubject[]).map(subjectOf), english.__('No GPU that can be watched.'));
  const onReadings = (): void => {
    const { as_of: asOf, items } = model.get('readings') as SentReadings;
    if (asOf !== undefined && items) {
      skew = asOf - Date.now() / 1000;
      view.hear(items);
    }
  };
  const onNote = (): void => view.say((model.get('note') as string) || null);
  const listeners: [string, () => void][] = [
    ['change:subjects', onSubjects],
    ['change:readings', onReadings],
    ['change:note', onNote]
  ];
  listeners.forEach(([name, listener]) => {
    model.on(name, listener);
    listener();
  });
  const observer = new IntersectionObserver(entries => view.see(entries.some(entry => entry.isIntersecting)));
  observer.observe(el);
  model.send({ kind: 'view', change: 1 });
  return () => {
    model.send({ kind: 'view', change: -1 });
    observer.disconnect();
    listeners.forEach(([name, listener]) => model.off(name, listener));
    questions.dispose();
    view.dispose();
  };
}

export default { render };
