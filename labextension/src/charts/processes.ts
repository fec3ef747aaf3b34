import type { HiddenProcesses, Processes, ProcessView } from '../_wire';
import { add, setText } from './dom';
import type { Says } from './says';
import type { Subject } from './subject';

/** A line of the table: a process of mine, or all of somebody else's on one device. */
interface Line {
  device: string;
  whose: string;
  pid: string;
  memory: string;
  busy: string;
}

/** Which processes use the GPUs, by notebook. Those of others are counted, not shown. */
export class ProcessTable {
  private readonly section: HTMLElement;
  private readonly box: HTMLElement;
  private readonly body: HTMLElement;
  private readonly empty: HTMLElement;
  private key = '';

  constructor(
    parent: Element,
    private readonly says: Says,
    id: string
  ) {
    const { trans } = says.words;
    this.section = add(parent, 'section', 'jp-GpuMonitor-section');
    this.section.hidden = true;
    const title = add(add(this.section, 'div', 'jp-GpuMonitor-heading'), 'h2', '', trans.__('Processes'));
    title.id = id;
    this.empty = add(this.section, 'p', 'jp-GpuMonitor-muted jp-GpuMonitor-empty');
    this.box = add(this.section, 'div', 'jp-GpuMonitor-tableBox');
    // Where it is too narrow for the table, the keyboard scrolls it.
    this.box.tabIndex = 0;
    this.box.setAttribute('role', 'group');
    this.box.setAttribute('aria-labelledby', id);
    const table = add(this.box, 'table');
    table.setAttribute('aria-labelledby', id);
    const head = add(add(table, 'thead'), 'tr');
    const names = [trans.__('Notebook'), trans.__('GPU'), trans.__('Process'), trans.__('Memory'), trans.__('Busy')];
    names.forEach(name => (add(head, 'th', '', name).scope = 'col'));
    this.body = add(table, 'tbody');
  }

  draw(processes: Processes, subjects: readonly Subject[]): void {
    const { trans } = this.says.words;
    const titles = new Map(subjects.map(({ id, title }) => [id, title]));
    const lines = [
      ...processes.items.map(process => this.shown(process, titles)),
      ...processes.hidden.map(hidden => this.hidden(hidden, titles))
    ];
    this.section.hidden = false;
    this.empty.hidden = lines.length > 0;
    this.box.hidden = lines.length === 0;
    setText(this.empty, trans.__('No process uses a GPU here.'));
    const key = JSON.stringify(lines);
    if (key === this.key) {
      return;
    }
    this.key = key;
    this.body.replaceChildren();
    for (const { whose, device, pid, memory, busy } of lines) {
      const row = add(this.body, 'tr');
      add(row, 'th', '', whose).scope = 'row';
      add(row, 'td', '', device);
      [pid, memory, busy].forEach(text => add(row, 'td', 'jp-mod-number', text));
    }
  }

  private shown(process: ProcessView, titles: ReadonlyMap<string, string>): Line {
    const { format, trans } = this.says.words;
    const { memory_bytes: memory, sm_percent: busy } = process;
    return {
      device: device(process, titles),
      whose: this.whose(process, titles),
      pid: trans.__('%1 %2', process.pid, process.name),
      memory: memory === null ? trans.__('not known') : format.memory(memory),
      busy: busy === null ? trans.__('not known') : format.percent(busy)
    };
  }

  /** Those of others are counted; where none can be seen, it says why. */
  private hidden(hidden: HiddenProcesses, titles: ReadonlyMap<string, string>): Line {
    const { format, trans } = this.says.words;
    const { count, memory_bytes: memory, reason } = hidden;
    const why = trans.__('not visible from here');
    let whose = trans.__('Processes');
    if (count !== null) {
      whose = trans._n('%1 process of others', '%1 processes of others', count);
    } else if (reason) {
      whose = this.says.words.reason(reason);
    }
    return {
      device: device(hidden, titles),
      whose,
      pid: why,
      memory: memory === null ? why : format.memory(memory),
      busy: why
    };
  }

  private whose(process: ProcessView, titles: ReadonlyMap<string, string>): string {
    const { trans } = this.says.words;
    const { kind, path, session_id: session, kernel_id: kernel } = process;
    const name = path ?? (session === null ? null : titles.get(session)) ?? kernel ?? process.name;
    switch (kind) {
      case 'mine':
        return name;
      case 'others':
        return trans.__('%1, of others', name);
      case 'unheld':
        return trans.__('%1, of no session here', name);
    }
  }
}

function device(
  { device_uuid: whole, mig_uuid: mig }: Pick<ProcessView, 'device_uuid' | 'mig_uuid'>,
  titles: ReadonlyMap<string, string>
): string {
  return [titles.get(whole) ?? whole, mig === null ? '' : (titles.get(mig) ?? mig)].filter(Boolean).join(' · ');
}
