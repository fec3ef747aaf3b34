import type { Device, SessionView } from './_wire';
import type { Subject } from './charts/subject';
import type { State } from './model';
import type { Words } from './words';

const WATCHED = new Set(['active', 'paused', 'ending']);

/** What the Monitor has rows for: the person's sessions that have begun, then every device with its MIG devices. */
export function subjectsOf(
  devices: readonly Device[],
  { pools, sessions }: Pick<State, 'pools' | 'sessions'>,
  words: Words,
  pathOf: (session: SessionView) => string | null
): Subject[] {
  const mine = (sessions ?? []).filter(session => WATCHED.has(session.state)).map(session => sessionSubject(session, words, pathOf));
  const titles = new Map((pools ?? []).map(pool => [pool.name, pool.title]));
  return [...mine, ...devices.flatMap(device => deviceSubjects(device, titles.get(device.pool) ?? device.pool, words))];
}

function sessionSubject(
  session: SessionView,
  words: Words,
  pathOf: (session: SessionView) => string | null
): Subject {
  const path = pathOf(session);
  const { trans } = words;
  const state = { paused: trans.__('paused'), ending: trans.__('ending') }[session.state as string];
  const detail = [path === null ? words.purpose(session) : (path.split('/').at(-1) ?? path), state];
  return {
    id: session.id,
    kind: 'session',
    title: session.title,
    detail: detail.filter(Boolean).join(' · '),
    memoryBytes: session.memory_bytes,
    simulated: session.simulated,
    trouble: ''
  };
}

function deviceSubjects(device: Device, pool: string, words: Words): Subject[] {
  const { trans } = words;
  const trouble = device.lost ? words.reason(device.lost) : '';
  const { simulated } = device;
  const remote = Boolean(device.remote);
  const model = device.name.replace(/^NVIDIA /, '');
  const at = device.remote?.host ?? '';
  const where = device.remote ? [model, words.pods(device.remote.pods)].filter(Boolean).join(' · ') : pool;
  const whole: Subject = {
    id: device.uuid,
    kind: 'device',
    // Of another machine the host comes first: numbers are the same on all of them.
    title: at ? trans.__('%1 · GPU %2', at, device.index) : trans.__('GPU %1 · %2', device.index, model),
    detail: simulated ? trans.__('%1 · simulated', where) : where,
    memoryBytes: device.memory_bytes || null,
    simulated,
    remote,
    trouble
  };
  const slices = device.mig_devices.map(
    ({ uuid, profile, memory_bytes, pods }, place): Subject => ({
      id: uuid,
      kind: 'mig',
      title: trans.__('Slice %1 · %2', place + 1, profile),
      detail: pods ? words.pods(pods) : '',
      memoryBytes: memory_bytes || null,
      simulated,
      remote,
      trouble
    })
  );
  return [whole, ...slices];
}
