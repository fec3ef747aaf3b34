import { describe, expect, it } from 'vitest';

import { NO_HISTORY, sample, words } from '../testing';
import { english } from './english';
import { Says } from './says';
import type { Subject } from './subject';
import { Track } from './track';

const says = new Says(words);
const device: Subject = {
  id: 'GPU-1',
  kind: 'device',
  title: 'GPU 0',
  detail: '',
  memoryBytes: 40e9,
  simulated: true,
  trouble: ''
};

describe('what is said of a subject', () => {
  it('are its numbers with their units', () => {
    const reading = sample({ power_mw: 212_400, temperature_c: 54, sm_clock_mhz: 1410, throttle_reasons: ['power_cap'] });
    expect(says.figures(reading).map(({ text }) => text)).toEqual([
      '71 % busy',
      '3.2\u00a0of\u00a010\u00a0GB',
      '212 W',
      '54 °C',
      '1410 MHz',
      'slowed: power limit'
    ]);
  });

  it('never makes a number of what is not known, and says why', () => {
    const reading = sample({ utilization_percent: null, missing: { utilization_percent: 'not_supported' } });
    expect(says.figures(reading).map(({ name }) => name)).toEqual(['memory']);
    expect(says.unknown(reading, { ...device, kind: 'mig' })).toContain('busy: not available on this slice');
    expect(says.hatched(new Track(NO_HISTORY), reading, device, null)).toBe('busy: not available on this GPU');
  });

  it('says why a strip is hatched all over', () => {
    expect(says.hatched(new Track(NO_HISTORY), sample(), device, null)).toBe('not measured in this time');
    const lost = { ...device, trouble: 'It does not answer.' };
    expect(says.hatched(new Track(NO_HISTORY), undefined, lost, null)).toBe('It does not answer.');
  });

  it('is the text twin of a strip', () => {
    const said = { low: 3.2, high: 97.8, mean: 40, unknown_s: 600 };
    const text = says.strip('busy', said, '13:00 to 14:00', '');
    expect(text).toContain('between 3 and 98 percent, 40 on average');
    expect(text).toContain('Not known for 10\u00a0min');
  });
});

describe('the strings without a translator', () => {
  it('are filled in', () => {
    expect(english.__('%1 of %2 %', 3, 10)).toBe('3 of 10 %');
    expect(english._n('%1 day', '%1 days', 1)).toBe('1 day');
    expect(english._n('%1 day', '%1 days', 2)).toBe('2 days');
  });
});
