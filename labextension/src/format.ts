import type { TranslationBundle } from '@jupyterlab/translation';

const GB = 1e9;

/** A number and its unit stay on one line. */
function glued(text: string): string {
  return text.replace(/ /g, '\u00a0');
}

/** Numbers with units, in the language of the page. */
export class Format {
  constructor(
    private readonly trans: TranslationBundle,
    private readonly locale?: string
  ) {}

  /** `3.2` below ten, whole numbers from there on. */
  gigabytes(bytes: number): string {
    const value = bytes / GB;
    const digits = value >= 9.95 || Math.abs(value - Math.round(value)) < 0.05 ? 0 : 1;
    return value.toLocaleString(this.locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  memory(bytes: number): string {
    return glued(this.trans.__('%1 GB', this.gigabytes(bytes)));
  }

  memoryOf(used: number, total: number): string {
    return glued(this.trans.__('%1 of %2 GB', this.gigabytes(used), this.gigabytes(total)));
  }

  percent(value: number): string {
    return glued(this.trans.__('%1 %', Math.round(value)));
  }

  /** `45 s`, `14 min`, `1 h 30 min`, `2 days`. */
  duration(seconds: number): string {
    if (seconds < 90) {
      return glued(this.trans.__('%1 s', Math.max(0, Math.round(seconds))));
    }
    const minutes = Math.round(seconds / 60);
    if (minutes < 60) {
      return glued(this.trans.__('%1 min', minutes));
    }
    if (minutes < 48 * 60) {
      const hours = Math.floor(minutes / 60);
      const rest = minutes % 60;
      return glued(rest ? this.trans.__('%1 h %2 min', hours, rest) : this.trans.__('%1 h', hours));
    }
    const days = Math.round(minutes / 60 / 24);
    return glued(this.trans._n('%1 day', '%1 days', days));
  }

  /** What is left of a countdown, rounded up and calm: it changes once a minute until the last one. */
  left(seconds: number): string {
    return seconds > 60 ? this.duration(Math.ceil(seconds / 60) * 60) : this.duration(Math.ceil(seconds / 10) * 10);
  }

  /** `18:10`; with the day where it is not today. */
  clock(at: number, now: number): string {
    const then = new Date(at * 1000);
    const time = then.toLocaleTimeString(this.locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
    if (then.toDateString() === new Date(now * 1000).toDateString()) {
      return time;
    }
    const near = Math.abs(at - now) < 6 * 86400;
    const day = then.toLocaleDateString(
      this.locale,
      near ? { weekday: 'short' } : { day: 'numeric', month: 'short' }
    );
    return `${day} ${time}`;
  }

  money(amount: number, currency: string | null): string {
    try {
      return amount.toLocaleString(this.locale, { style: 'currency', currency: currency ?? 'EUR' });
    } catch {
      return `${amount.toFixed(2)} ${currency ?? ''}`.trim();
    }
  }

  /** `1st`, `2nd`, `3rd`, `4th`: every form is one string to translate. */
  ordinal(n: number): string {
    switch (new Intl.PluralRules('en', { type: 'ordinal' }).select(n)) {
      case 'one':
        return this.trans.__('%1st', n);
      case 'two':
        return this.trans.__('%1nd', n);
      case 'few':
        return this.trans.__('%1rd', n);
      default:
        return this.trans.__('%1th', n);
    }
  }

  /** `conn`, `conn and gen`, `a, b and 3 more`. */
  list(names: readonly string[], most = 4): string {
    const shown = names.length > most ? names.slice(0, most - 1) : names;
    const rest = names.length - shown.length;
    const items = rest ? [...shown, this.trans.__('%1 more', rest)] : shown;
    const last = items.at(-1) ?? '';
    return items.length < 2 ? last : this.trans.__('%1 and %2', items.slice(0, -1).join(', '), last);
  }
}
