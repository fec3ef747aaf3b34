import type { TranslationBundle } from '@jupyterlab/translation';

import type {
  Ends,
  Estimate,
  Explanation,
  FlavorView,
  Notice,
  Offer,
  PodsView,
  Pool,
  ReasonView,
  SampleView,
  SessionView
} from './_wire';
import { Format } from './format';
import { reasonTable, type Sentence, text } from './reasons';

/** Notices whose sentence says "it": the card names the session above it, a notification has to. */
const NAMED = new Set(['crowded_share', 'device_lost', 'over_share', 'unclaimed']);

/** Why a session has ended, where how it ended says as much. */
const SAID_ALREADY = new Set(['idle', 'lease_ended', 'unclaimed']);
/** Why a lease has ended before its time. */
const CUT_SHORT = new Set(['called_back', 'paused_too_long', 'reserved']);

/** What ends sooner is counted down, in seconds. */
const NEAR_S = 600;

/** Every sentence that turns on what the server says: codes become words here, and nowhere else. */
export class Words {
  readonly format: Format;

  constructor(
    readonly trans: TranslationBundle,
    locale?: string
  ) {
    this.format = new Format(trans, locale);
    this.reasons = reasonTable(trans, this.format);
    this.poolReasons = this.poolReasonTable();
  }

  /** A reason in the person's language; one that is not known here in the server's English. */
  reason(reason: ReasonView): string {
    return this.reasons[reason.code]?.(reason.params) ?? reason.text;
  }

  /**
   * A notice, which stands alone.
   *
   * @param about The name of the notebook, or of whatever the session is for.
   */
  notice({ at, code, params, text: said }: Notice, about: string | null = null): string {
    const title = about !== null && params.title ? this.trans.__('%1 (%2)', text(params.title), about) : params.title;
    const sentence = this.reasons[code]?.({ ...params, title, at });
    if (sentence === undefined) {
      return said;
    }
    return NAMED.has(code) ? this.trans.__('%1: %2', text(title), sentence) : sentence;
  }

  /** One line of an offer, without what makes it stand out. */
  offer(offer: Offer): { free: boolean; availability: string; rest: string } {
    // A share that is free may be spoken for: the estimate knows the queue.
    const free = offer.estimate ? offer.estimate.p90_s <= 0 : offer.free > 0;
    const parts: string[] = [];
    if (free && offer.total > 1) {
      parts.push(this.trans.__('%1 of %2', offer.free, offer.total));
    }
    if (offer.cost_per_hour !== null) {
      parts.push(this.trans.__('%1 an hour', this.format.money(offer.cost_per_hour, offer.currency)));
    }
    return {
      free,
      availability: free ? this.trans.__('free now') : this.wait(offer.estimate),
      rest: parts.join(' · ')
    };
  }

  /** How long it takes until one's turn comes. */
  wait(estimate: Estimate | null): string {
    if (!estimate) {
      return this.trans.__('all in use, waiting time not known');
    }
    const { p50_s, p90_s, basis } = estimate;
    if (p90_s <= 0) {
      return this.trans.__('free now');
    }
    if (basis === 'lease_ends' || p50_s === p90_s) {
      return this.trans.__('at the latest in %1', this.format.duration(p90_s));
    }
    return this.trans.__('usually %1, 9 of 10 under %2', this.format.duration(p50_s), this.format.duration(p90_s));
  }

  /** `2nd of 5 in the queue · usually 14 min`. */
  place(session: SessionView): string {
    const { queue_position: position, queue_length: length } = session;
    const parts = [this.trans.__('In the queue')];
    if (position === 1) {
      parts[0] = this.trans.__('Next in the queue');
    } else if (position !== null) {
      const place = this.format.ordinal(position);
      parts[0] =
        length !== null && length >= position
          ? this.trans.__('%1 of %2 in the queue', place, length)
          : this.trans.__('%1 in the queue', place);
    }
    if (session.estimate && session.estimate.p90_s > 0) {
      parts.push(this.wait(session.estimate));
    }
    return parts.join(' · ');
  }

  /** What a session uses now, the text twin of its chart. */
  use(sample: SampleView | undefined): string {
    if (!sample) {
      return this.trans.__('Nothing measured yet');
    }
    const parts = [
      sample.utilization_percent === null
        ? this.trans.__('busy: %1', this.missing(sample.missing.utilization_percent))
        : this.trans.__('%1 % busy', Math.round(sample.utilization_percent))
    ];
    if (sample.sm_activity_percent !== null) {
      parts.push(this.trans.__('SM activity %1 %', Math.round(sample.sm_activity_percent)));
    }
    if (sample.memory_used_bytes !== null && sample.memory_total_bytes !== null) {
      parts.push(this.format.memoryOf(sample.memory_used_bytes, sample.memory_total_bytes));
    }
    return parts.join(' · ');
  }

  /** Why a number is not there. */
  missing(reason: string | undefined): string {
    switch (reason) {
      case 'not_supported':
        return this.trans.__('not available on this slice');
      case 'no_permission':
        return this.trans.__('not permitted here');
      case 'lost':
      case 'not_answering':
        return this.trans.__('the GPU does not answer');
      case 'not_visible':
        return this.trans.__('not visible from here');
      case 'shared':
        return this.trans.__('not told apart from the others on this GPU');
      case 'not_yet':
        return this.trans.__('not measured yet');
      case 'not_measured':
        return this.trans.__('not measured in this time');
      default:
        return this.trans.__('not known');
    }
  }

  /** Who holds a GPU of another machine; operators are told the names. */
  pods({ count, items }: PodsView): string {
    if (count === null) {
      return this.trans.__('who holds it is not known');
    }
    if (count === 0) {
      return this.trans.__('no pod holds it');
    }
    return items
      ? this.format.list(items.map(({ namespace, name }) => `${namespace}/${name}`))
      : this.trans._n('held by %1 pod', 'held by %1 pods', count);
  }

  /** A clock for what is far, what is left for what is near. */
  ends(ends: Ends, now: number): string {
    const left_s = ends.at - now;
    return left_s < NEAR_S
      ? this.trans.__('Ends in %1: %2', this.format.left(left_s), this.cause(ends))
      : this.trans.__('Ends %1: %2', this.format.clock(ends.at, now), this.cause(ends));
  }

  cause({ cause, title }: Ends): string {
    switch (cause) {
      case 'lease':
        return this.trans.__('end of lease');
      case 'claim_window':
        return this.trans.__('not started in time');
      case 'server_idle_limit':
        return this.trans.__('idle limit of the server');
      case 'kernel_idle_limit':
        return this.trans.__('idle limit of the kernel');
      case 'reservation':
        return title ? this.trans.__('set aside for %1', title) : this.trans.__('set aside for others');
      case 'quota':
        return this.trans.__('lent, and wanted back');
      case 'idle':
        return this.trans.__('idle, and somebody waits');
      case 'linger':
        return this.trans.__('its kernel is gone');
    }
  }

  /** What a session does, in one line, where it is neither queued nor computing. */
  state(session: SessionView, now: number): string {
    const { format, trans } = this;
    switch (session.state) {
      case 'queued':
        return this.place(session);
      case 'ready':
        return session.actions.includes('claim') && session.claim_by !== null
          ? trans.__('Ready for you, held for %1', format.left(session.claim_by - now))
          : trans.__('Ready, starting');
      case 'active':
        if (session.reason?.code === 'no_room' || session.reason?.code === 'not_carried') {
          return this.reason(session.reason);
        }
        return session.idle_since !== null && now - session.idle_since >= 120
          ? trans.__('Idle for %1', format.duration(now - session.idle_since))
          : '';
      case 'paused':
        return this.paused(session);
      case 'ending':
        return session.undo_until !== null ? trans.__('Released') : trans.__('Going back');
      case 'ended':
        return this.ended(session);
    }
  }

  /** What the order of the queue, quotas and reservations have to do with it. */
  order(said: Explanation, now: number): string[] {
    const { format, trans } = this;
    const hours = (deviceSeconds: number): string => (deviceSeconds / 3600).toPrecision(2);
    const out: string[] = [];
    if (said.held_device_s >= 36) {
      out.push(
        trans.__(
          'You have held %1 GPU-hours lately; those of %2 ago count half',
          hours(said.held_device_s),
          format.duration(said.half_life_s)
        )
      );
    }
    const over = Boolean(said.reason.params.group_over);
    if (said.group !== null) {
      const held = hours(said.group_held_device_s ?? 0);
      out.push(
        over
          ? trans.__('Group %1: %2 GPU-hours lately, more than its share', said.group, held)
          : trans.__('Group %1: %2 GPU-hours lately', said.group, held)
      );
    } else if (over) {
      out.push(trans.__('Others have held less than you lately, and go first'));
    }
    for (const { whose, flavor, held, limit } of said.quotas) {
      const name = whose === 'you' ? trans.__('Your quota') : trans.__('Quota of group %1', whose);
      out.push(
        limit === null
          ? trans.__('%1 (%2): %3 held', name, flavor, held)
          : trans.__('%1 (%2): %3 held of at most %4', name, flavor, held, limit)
      );
    }
    for (const { title, start, end, for_you } of said.reservations) {
      const when = trans.__('%1 to %2', format.clock(start, now), format.clock(end, now));
      out.push(
        for_you ? trans.__('Set aside for you too, %1: %2', when, title) : trans.__('Set aside, %1: %2', when, title)
      );
    }
    return out;
  }

  /** How far a pause has come; a cell that waits has a place in the queue. */
  private paused(session: SessionView): string {
    switch (session.reason?.code) {
      case 'pausing':
        return this.trans.__('Being paused: its variables are put aside.');
      case 'resuming':
        return this.trans.__('Getting the GPU back …');
      case 'paused_held':
        // why it is kept is in the server's words
        return session.reason.params.why ? session.reason.text : this.trans.__('Paused; its GPU is kept for it.');
      case 'paused_partly':
        // what stays on the GPU, and why, is in the server's words
        return session.reason.text;
      default:
        return session.queue_position === null
          ? this.trans.__('Paused, variables kept. The next cell gets a GPU back.')
          : this.trans.__('Paused, variables kept. A cell waits: %1', this.place(session));
    }
  }

  /** Why a session has ended, where its state does not say that. */
  whyEnded({ reason, state }: SessionView): string {
    return state === 'ended' && reason && !SAID_ALREADY.has(reason.code) ? this.reason(reason) : '';
  }

  private ended({ end_reason, reason, started_at }: SessionView): string {
    if (end_reason === 'expired' && reason && CUT_SHORT.has(reason.code)) {
      return this.trans.__('Ended');
    }
    switch (end_reason) {
      case 'released':
        return this.trans.__('Given back');
      case 'expired':
        return this.trans.__('Ended: the lease was over');
      case 'reclaimed':
        return this.trans.__('Ended: nobody computed on it and others waited');
      case 'unclaimed':
        return this.trans.__('Ended: it was not started in time');
      case 'failed':
        return started_at === null ? this.trans.__('It could not be started') : this.trans.__('Ended: it could not go on');
      case 'refused':
        return this.trans.__('It was refused');
      case 'lost':
        return this.trans.__('Ended: the GPU was lost');
      default:
        return this.trans.__('Ended');
    }
  }

  /** What a session is for, where it is not a notebook's. */
  purpose({ kind, purpose }: SessionView): string {
    if (purpose) {
      return purpose;
    }
    const kinds = {
      kernel: this.trans.__('kernel'),
      cluster: this.trans.__('cluster'),
      job: this.trans.__('job'),
      server: this.trans.__('server')
    };
    return kinds[kind];
  }

  /** `61 busy · 12 held idle · 7 free`. */
  counts(flavor: FlavorView): string {
    const all: [number, string][] = [
      [flavor.busy, this.trans.__('%1 busy', flavor.busy)],
      [flavor.held_idle, this.trans.__('%1 held idle', flavor.held_idle)],
      [flavor.taken, this.trans.__('%1 used outside', flavor.taken)]
    ];
    const parts = all.filter(([count]) => count > 0).map(([, said]) => said);
    parts.push(flavor.free > 0 ? this.trans.__('%1 free', flavor.free) : this.trans.__('none free'));
    if (flavor.queued > 0) {
      parts.push(this.trans._n('%1 waits', '%1 wait', flavor.queued));
    }
    return parts.join(' · ');
  }

  away(pool: Pool): string {
    const { reason } = pool;
    if (!reason) {
      return this.trans.__('Not available now.');
    }
    // Of a pool that works more than one thing can be amiss, and the server's sentence names the devices.
    return (pool.available ? undefined : this.poolReasons[reason.code]) ?? reason.text;
  }

  private readonly reasons: Record<string, Sentence | undefined>;
  private readonly poolReasons: Record<string, string | undefined>;

  private poolReasonTable(): Record<string, string | undefined> {
    const { trans } = this;
    return {
      library_missing: trans.__('No NVIDIA driver here (libnvidia-ml not found).'),
      driver_not_loaded: trans.__('The NVIDIA driver is not loaded.'),
      no_permission: trans.__('This account may not use the NVIDIA driver.'),
      version_mismatch: trans.__('The NVIDIA driver and its library have different versions.'),
      not_answering: trans.__('The NVIDIA driver does not answer.')
    };
  }
}
