import { beforeEach, describe, expect, it } from 'vitest';

import type { HiddenProcesses, Processes, ProcessView } from '../_wire';
import { words } from '../testing';
import { ProcessTable } from './processes';
import { Says } from './says';
import type { Subject } from './subject';

const gpu: Subject = {
  id: 'GPU-1',
  kind: 'device',
  title: 'GPU 0 · A100',
  detail: '',
  memoryBytes: null,
  simulated: true,
  trouble: ''
};

function all(items: ProcessView[], hidden: HiddenProcesses[] = []): Processes {
  return { items, hidden, as_of: 1000 };
}

function process(change: Partial<ProcessView> = {}): ProcessView {
  return {
    device_uuid: 'GPU-1',
    mig_uuid: null,
    pid: 42,
    name: 'python',
    how: 'tree',
    kind: 'mine',
    session_id: 's1',
    kernel_id: 'k1',
    path: 'work/fit.ipynb',
    memory_bytes: 3.2e9,
    sm_percent: null,
    ...change
  };
}

describe('the table of processes', () => {
  let table: ProcessTable;

  beforeEach(() => {
    document.body.replaceChildren();
    table = new ProcessTable(document.body, new Says(words), 'processes');
  });

  const rows = (): string[][] =>
    [...document.querySelectorAll('tbody tr')].map(row => [...row.children].map(cell => cell.textContent));

  it('names the notebook, and does not make 0 of what is not known', () => {
    table.draw(all([process()]), [gpu]);
    expect(rows()).toEqual([['work/fit.ipynb', 'GPU 0 · A100', '42 python', '3.2\u00a0GB', 'not known']]);
  });

  it('says of a process that no session holds it', () => {
    table.draw(all([process({ kind: 'unheld', session_id: null, kernel_id: null, path: null })]), [gpu]);
    expect(rows()[0]?.[0]).toBe('python, of no session here');
  });

  it('counts those of others, and says that they can not be seen', () => {
    const hidden = { device_uuid: 'GPU-1', mig_uuid: null, count: 2, memory_bytes: null, reason: null };
    table.draw(all([process()], [hidden]), [gpu]);
    const why = 'not visible from here';
    expect(rows().at(-1)).toEqual(['2 processes of others', 'GPU 0 · A100', why, why, why]);
  });

  it('says why none can be seen', () => {
    const reason = { code: 'new_reason', params: {}, text: 'The driver names processes of the host.' };
    table.draw(all([], [{ device_uuid: 'GPU-1', mig_uuid: null, count: null, memory_bytes: 1e9, reason }]), [gpu]);
    expect(rows()[0]?.[0]).toBe('The driver names processes of the host.');
    expect(rows()[0]?.[3]).toBe('1\u00a0GB');
  });

  it('reads names as text', () => {
    table.draw(all([process({ path: '<img src=x onerror=alert(1)>' })]), [gpu]);
    expect(document.querySelector('img')).toBeNull();
  });

  it('says that there is none', () => {
    table.draw(all([]), [gpu]);
    expect(document.body.textContent).toContain('No process uses a GPU here.');
    expect(document.querySelector('table')?.parentElement?.hidden).toBe(true);
  });
});
