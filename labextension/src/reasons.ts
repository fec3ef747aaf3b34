import type { TranslationBundle } from '@jupyterlab/translation';

import type { Format } from './format';

type Params = Record<string, unknown>;
export type Sentence = (p: Params) => string;

export function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

/** The server's codes for why something is so, as sentences. */
export function reasonTable(trans: TranslationBundle, format: Format): Record<string, Sentence | undefined> {
  const title = (p: Params): string => text(p.title) || trans.__('GPU');
  // A clock and not what is left: a notification is read at any time.
  const goesBack = (p: Params): string => format.clock(Number(p.at) + Number(p.left_s), Number(p.at));
  return {
    in_queue: p =>
      trans.__('%1 in the queue for %2.', format.ordinal(Number(p.position)), title(p)),
    all_held: p =>
      p.reserved
        ? trans.__('All of %1 are in use or set aside for %2; you are next.', title(p), text(p.reserved))
        : trans.__('All of %1 are in use; you are next.', title(p)),
    waits_for_gpu: p => trans.__('A cell waits for its GPU: %1 of %2.', text(p.position), text(p.length)),
    over_quota: p =>
      p.whose === 'you'
        ? trans.__('You hold %1 of at most %2: the next comes when one goes back.', text(p.held), text(p.limit))
        : trans.__(
            'Group %1 holds %2 of at most %3: the next comes when one goes back.',
            text(p.whose),
            text(p.held),
            text(p.limit)
          ),
    idle_ends: p =>
      trans.__(
        '%1 has been idle for %2 min, and somebody waits for it. It goes back at %3.',
        title(p),
        text(p.minutes),
        // the same day: the grace is a matter of minutes
        format.clock(Number(p.ends_at), Number(p.ends_at))
      ),
    idle_wanted: p =>
      trans.__(
        '%1 has been idle for %2 min, and somebody waits for it. Please release it if you can.',
        title(p),
        text(p.minutes)
      ),
    reclaimed: p =>
      trans.__('%1: nobody computed on it for %2 min, and somebody waited.', title(p), text(p.minutes)),
    idle: p => trans.__('Nobody computed on it for %1 min, and somebody waited.', text(p.minutes)),
    called_back: p =>
      typeof p.left_s === 'number'
        ? trans.__('%1 was lent to your group and is wanted back: it goes back at %2.', title(p), goesBack(p))
        : trans.__('It was lent to your group and was wanted back.'),
    reserved: p =>
      p.event
        ? trans.__('It is set aside for %1 from now on.', text(p.event))
        : trans.__('It is set aside for an event or for maintenance from now on.'),
    paused_too_long: () => trans.__('It was paused for as long as that is possible here.'),
    ready: p => trans.__('%1 is ready for you. It is held for a while: start it to keep it.', title(p)),
    lease_ends: p => {
      switch (p.cause) {
        case 'reservation':
          return trans.__(
            '%1 goes back at %2: it is set aside for %3 from then on.',
            title(p),
            goesBack(p),
            text(p.event)
          );
        case 'quota':
          return trans.__('%1 goes back at %2: it was lent to your group and is wanted back.', title(p), goesBack(p));
        default:
          return trans.__('%1 goes back at %2: its lease ends.', title(p), goesBack(p));
      }
    },
    lease_ended: p => {
      if (!p.title) {
        return trans.__('Its lease has ended.');
      }
      switch (p.cause) {
        case 'reservation':
          return trans.__('%1 goes back: it is set aside for %2 from now on.', title(p), text(p.event));
        case 'quota':
          return trans.__('%1 goes back: it was lent to your group and was wanted back.', title(p));
        default:
          return trans.__('%1: the lease has ended and the GPU goes back.', title(p));
      }
    },
    kernel_busy: () =>
      trans.__('A cell is running. It would be stopped, and all variables lost. Wait for it to keep them.'),
    no_kernel: () => trans.__('Its kernel was shut down, so the GPU went back.'),
    pool_away: p => trans.__('%1 does not answer now; you keep your place.', text(p.pool)),
    unclaimed: p =>
      p.wanted
        ? trans.__('It was not started in time and went to the next in the queue.')
        : trans.__('It was not started in time and went back.'),
    device_away: () => trans.__('Its GPU does not answer. If it does not come back soon, the session ends.'),
    device_silent: p =>
      trans.__(
        'It has not answered since %1: the driver takes too long.',
        format.clock(Number(p.since), Date.now() / 1000)
      ),
    device_lost: () => trans.__('Its GPU stopped answering and did not come back.'),
    device_back: p => trans.__('%1 answers again.', title(p)),
    over_share: p =>
      trans.__(
        'It uses %1 of GPU memory, and its share is %2. Others on the same GPU can run out of memory. Free some, or get a larger share.',
        format.memory(Number(p.used_bytes)),
        format.memory(Number(p.limit_bytes))
      ),
    crowded_share: p =>
      trans.__(
        'Another session on the same GPU uses %1 of memory, and its share is %2. Yours can run out of memory though it keeps to its share. The other was told.',
        format.memory(Number(p.used_bytes)),
        format.memory(Number(p.limit_bytes))
      ),
    not_followed: p =>
      trans.__(
        '%1 is another GPU than before, and its kernel did not answer when it was told so. Restart the kernel before it starts other processes: they would look for the GPU of before.',
        title(p)
      ),
    variables_left: p =>
      text(p.names)
        ? `${trans.__('%1: these variables did not come along: %2.', title(p), text(p.names))} ${text(p.why)}`.trimEnd()
        : trans.__('%1: the variables did not come along. %2', title(p), text(p.why)),
    ledger_put_aside: p =>
      trans.__(
        'The record of your GPU sessions was damaged, so a new one was begun: sessions and statistics of before are not known any more. The damaged file is kept as %1.',
        text(p.path)
      ),
    smaller_fits: p =>
      trans.__(
        'The last %1 profiled runs of %2 peaked at %3: %4 fits with %5 % to spare and is free now.',
        text(p.runs),
        text(p.notebook),
        format.memory(Number(p.peak_bytes)),
        text(p.title),
        text(p.margin_percent)
      ),
    lease_at_maximum: () => trans.__('This session is at the longest lease allowed here.'),
    too_late_to_undo: () => trans.__('It is too late to undo this.'),
    kernel_attached: () => trans.__('This kernel is on a GPU already, or waits for one.'),
    prometheus_away: () => trans.__("The site's other GPUs can't be seen: its Prometheus does not answer."),
    prometheus_refuses: () => trans.__("The site's other GPUs can't be seen: its Prometheus refuses this server."),
    prometheus_has_none: () =>
      trans.__("The site's other GPUs can't be seen: its Prometheus has no metrics of them now."),
    not_scraped: p =>
      typeof p.age_s === 'number'
        ? trans.__('nothing new of it for %1', format.duration(p.age_s))
        : trans.__('nothing new of it'),
    remote_left_out: p =>
      trans._n('%1 more GPU of the site is not shown here.', '%1 more GPUs of the site are not shown here.', Number(p.count))
  };
}
