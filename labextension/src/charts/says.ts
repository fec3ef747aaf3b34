import type { SampleView } from '../_wire';
import type { Words } from '../words';
import type { Summary } from './pixels';
import type { Subject } from './subject';
import type { Range } from './timeline';
import { type Field, type Track, WIRE_NAMES } from './track';

/** A number with its name, for the row of a subject. */
export interface Figure {
  /** Stable, for styling. */
  name: 'busy' | 'memory' | 'power' | 'temperature' | 'clock' | 'throttled' | 'activity' | 'age' | 'error';
  text: string;
  /** The same in full. */
  about: string;
}

/** What a sentence about a subject needs. */
export interface Known {
  subject: Subject;
  reading: SampleView | undefined;
  track: Track | null;
  /** The time that is shown. */
  range: Range;
}

const UNIT_STEP = 1000;
/** Less time than this is said with seconds. */
const EXACT_S = 900;

/** Every sentence of the Monitor: the text twins of what is drawn. */
export class Says {
  constructor(readonly words: Words) {}

  /** How old a reading is (seconds), of what is not read here; null where that goes without saying. */
  age({ remote, trouble }: Subject, reading: SampleView | undefined, now: number): number | null {
    return remote && reading && !trouble ? Math.max(0, now - reading.taken_at) : null;
  }

  /** What is known of a subject now, and how old that is. What is not known is left to `unknown`. */
  figures(reading: SampleView | undefined, age: number | null = null): Figure[] {
    const { format, trans } = this.words;
    if (!reading) {
      return [];
    }
    const out: Figure[] = [];
    const put = (name: Figure['name'], text: string, about: string): void => void out.push({ name, text, about });
    if (reading.utilization_percent !== null) {
      put('busy', trans.__('%1 % busy', Math.round(reading.utilization_percent)), trans.__('Utilization'));
    }
    if (reading.memory_used_bytes !== null) {
      const { memory_used_bytes: used, memory_total_bytes: total } = reading;
      put('memory', total === null ? format.memory(used) : format.memoryOf(used, total), trans.__('Memory in use'));
    }
    if (age !== null) {
      put('age', trans.__('data %1 old', format.duration(age)), trans.__('When this GPU was read last'));
    }
    if (reading.power_mw !== null) {
      put('power', this.watts(reading.power_mw), trans.__('Power'));
    }
    if (reading.temperature_c !== null) {
      put('temperature', trans.__('%1 °C', reading.temperature_c), trans.__('Temperature'));
    }
    if (reading.sm_clock_mhz != null) {
      put('clock', trans.__('%1 MHz', reading.sm_clock_mhz), trans.__('Clock of the multiprocessors'));
    }
    if (reading.utilization_percent === null && reading.sm_activity_percent != null) {
      put('activity', trans.__('%1 % active', Math.round(reading.sm_activity_percent)), trans.__('SM activity'));
    }
    if (reading.throttle_reasons?.length) {
      const why = format.list(reading.throttle_reasons.map(reason => this.throttled(reason)));
      put('throttled', trans.__('slowed: %1', why), trans.__('Why the clock is lower than it could be'));
    }
    if (reading.ecc_uncorrected_count) {
      const count = reading.ecc_uncorrected_count;
      const text = trans._n('%1 memory error', '%1 memory errors', count);
      put('error', text, trans.__('Memory errors that could not be corrected, since the driver was loaded'));
    }
    if (reading.last_xid != null && reading.last_xid_at != null) {
      const at = format.clock(reading.last_xid_at, reading.taken_at);
      put('error', trans.__('XID %1 at %2', reading.last_xid, at), trans.__('The last error that the driver told of'));
    }
    return out;
  }

  /** What goes in and out, where that is told. */
  traffic(reading: SampleView | undefined): string[] {
    const { format, trans } = this.words;
    const ways: [string, number | null | undefined, number | null | undefined][] = [
      ['PCIe', reading?.pcie_rx_bytes_per_s, reading?.pcie_tx_bytes_per_s],
      ['NVLink', reading?.nvlink_rx_bytes_per_s, reading?.nvlink_tx_bytes_per_s]
    ];
    return ways.flatMap(([name, received, sent]) =>
      received == null || sent == null
        ? []
        : [trans.__('%1 %2 GB/s in, %3 GB/s out', name, format.gigabytes(received), format.gigabytes(sent))]
    );
  }

  /** What is not known now, with why; empty where all is known. */
  unknown(reading: SampleView | undefined, subject: Subject): string[] {
    const { trans } = this.words;
    if (!reading) {
      return [];
    }
    const names: [string, number | null | undefined, string][] = [
      ['utilization_percent', reading.utilization_percent, trans.__('busy')],
      ['memory_used_bytes', reading.memory_used_bytes, trans.__('memory')],
      ['power_mw', reading.power_mw, trans.__('power')],
      ['temperature_c', reading.temperature_c, trans.__('temperature')],
      ['sm_clock_mhz', reading.sm_clock_mhz, trans.__('clock')]
    ];
    return names
      .filter(([, value]) => value === null)
      .map(([field, , name]) => `${name}: ${this.missing(reading.missing[field], subject)}`);
  }

  /** Why a strip is hatched all over, or empty where it is not. */
  hatched(known: Known, said: Summary | null): string {
    const { trans } = this.words;
    const { subject, track } = known;
    if (subject.trouble) {
      return subject.trouble;
    }
    if (said || !track) {
      return '';
    }
    const why = whyIn('busy', known);
    return why ? trans.__('busy: %1', this.missing(why, subject)) : trans.__('not measured in this time');
  }

  /** The text twin of a strip. */
  strip(field: Field, said: Summary | null, when: string, why: string): string {
    const { format, trans } = this.words;
    const name = this.field(field);
    if (!said) {
      return trans.__('%1, %2: not known. %3', name, when, why);
    }
    const { low, high, mean, unknown_s: unknown } = said;
    const text = trans.__(
      '%1, %2: between %3 and %4 percent, %5 on average.',
      name,
      when,
      Math.round(low),
      Math.round(high),
      Math.round(mean)
    );
    const gaps = unknown > 1 ? trans.__('Not known for %1.', format.duration(unknown)) : '';
    return [text, gaps, why].filter(Boolean).join(' ');
  }

  /** A mean, and the highest reading that it hides, where that is another one. */
  atMost(field: Field, mean: number, high: number | null | undefined): string {
    const [said, highest] = [mean, Math.max(mean, high ?? mean)].map(value => this.value(field, value));
    return said === highest ? (said ?? '') : this.words.trans.__('%1, at most %2', said, highest);
  }

  /** The text twin of a line chart. */
  line(field: Field, said: Summary | null, known: Known): string {
    const { trans } = this.words;
    const { subject, track } = known;
    if (!track) {
      return '';
    }
    if (!said) {
      const why = whyIn(field, known);
      return why ? this.missing(why, subject) : trans.__('not measured in this time');
    }
    const [low, high, mean] = [said.low, said.high, said.mean].map(value => this.value(field, value));
    return low === high
      ? trans.__('%1 all the time', low)
      : trans.__('between %1 and %2, %3 on average', low, high, mean);
  }

  /** Why a number is not there. A whole GPU is no slice. */
  missing(reason: string | undefined, { kind, remote }: Subject): string {
    if (remote && reason === 'not_supported') {
      return this.words.trans.__('not in the metrics of its exporter');
    }
    if (remote && (reason === 'not_answering' || reason === 'lost')) {
      return this.words.trans.__('nothing new of it');
    }
    return reason === 'not_supported' && kind === 'device'
      ? this.words.trans.__('not available on this GPU')
      : this.words.missing(reason);
  }

  field(field: Field): string {
    const { trans } = this.words;
    return { busy: trans.__('Busy'), activity: trans.__('SM activity'), memory: trans.__('Memory'), power: trans.__('Power') }[field];
  }

  value(field: Field, value: number): string {
    switch (field) {
      case 'busy':
      case 'activity':
        return this.words.format.percent(value);
      case 'memory':
        return this.words.format.memory(value);
      case 'power':
        return this.watts(value);
    }
  }

  watts(milliwatts: number): string {
    return this.words.trans.__('%1 W', Math.round(milliwatts / UNIT_STEP));
  }

  range({ from, to }: Range): string {
    const { format, trans } = this.words;
    const now = Date.now() / 1000;
    const said = (at: number): string => (to - from < EXACT_S ? this.exact(at) : format.clock(at, now));
    return trans.__('%1 to %2', said(from), said(to));
  }

  /** With seconds. */
  exact(at: number): string {
    return new Date(at * 1000).toLocaleTimeString(undefined, { hourCycle: 'h23' });
  }

  last(length: number): string {
    return this.words.trans.__('the last %1', this.words.format.duration(length));
  }

  kind(subject: Subject): string {
    const { trans } = this.words;
    return { session: trans.__('session'), device: trans.__('GPU'), mig: trans.__('slice') }[subject.kind];
  }

  private throttled(reason: string): string {
    const { trans } = this.words;
    switch (reason) {
      case 'power_cap':
        return trans.__('power limit');
      case 'hardware':
        return trans.__('hardware');
      case 'sync_boost':
        return trans.__('kept in step with other GPUs');
      case 'software_thermal':
      case 'hardware_thermal':
        return trans.__('too hot');
      case 'power_brake':
        return trans.__('power brake');
      default:
        return reason;
    }
  }
}

/** Why nothing is known of a field in the time that is shown: what was said then, not what is said now. */
function whyIn(field: Field, { track, reading, range }: Known): string | undefined {
  const isIn = reading !== undefined && reading.taken_at >= range.from && reading.taken_at <= range.to;
  return track?.why(field, range.from, range.to) ?? (isIn ? reading.missing[WIRE_NAMES[field]] : undefined);
}
