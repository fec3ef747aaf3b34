import { describe, expect, it } from 'vitest';

import type { UnknownSince } from '../_wire';
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

const scene = { subject: device, track: new Track(NO_HISTORY), reading: sample(), range: { from: 0, to: 2000 } };

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

  it('are also its errors, where there are any, and what goes in and out, where that is told', () => {
    const fine = sample({ ecc_uncorrected_count: 0 });
    expect(says.figures(fine).map(({ name }) => name)).not.toContain('error');
    expect(says.traffic(fine)).toEqual([]);
    const at = new Date(2026, 10, 28, 14, 2).getTime() / 1000;
    const reading = sample({
      taken_at: at + 60,
      ecc_uncorrected_count: 2,
      last_xid: 79,
      last_xid_at: at,
      pcie_rx_bytes_per_s: 3e9,
      pcie_tx_bytes_per_s: 4e8
    });
    const errors = says.figures(reading).filter(({ name }) => name === 'error');
    expect(errors.map(({ text }) => text)).toEqual(['2 memory errors', 'XID 79 at 14:02']);
    expect(says.traffic(reading)).toEqual(['PCIe 3 GB/s in, 0.4 GB/s out']);
  });

  it('never makes a number of what is not known, and says why', () => {
    const reading = sample({ utilization_percent: null, missing: { utilization_percent: 'not_supported' } });
    expect(says.figures(reading).map(({ name }) => name)).toEqual(['memory']);
    expect(says.unknown(reading, { ...device, kind: 'mig' })).toContain('busy: not available on this slice');
    expect(says.hatched({ ...scene, reading }, null)).toBe('busy: not available on this GPU');
  });

  it('says of a GPU of another machine how old its data is', () => {
    const remote = { ...device, remote: true };
    const age = says.age(remote, sample({ taken_at: 1000 }), 1012.4);
    expect(says.figures(sample(), age).map(({ text }) => text)).toContain('data 12\u00a0s old');
    expect(says.figures(sample(), 180).map(({ text }) => text)).toContain('data 3\u00a0min old');
    expect(says.figures(sample()).map(({ name }) => name)).not.toContain('age');
    expect(says.age(remote, undefined, 1012)).toBeNull();
    expect(says.age({ ...remote, trouble: 'It is away.' }, sample(), 1012)).toBeNull();
    expect(says.age(device, sample(), 1012)).toBeNull();
  });

  it('says the highest beside a mean that hides it', () => {
    expect(says.atMost('busy', 3.2, 100)).toBe(`${says.value('busy', 3)}, at most ${says.value('busy', 100)}`);
    expect(says.atMost('busy', 3.2, 3.4)).toBe(says.value('busy', 3.2));
    expect(says.atMost('busy', 3.2, null)).toBe(says.value('busy', 3.2));
  });

  it('does not say that a GPU lacks what its exporter leaves out', () => {
    const reading = sample({ power_mw: null, missing: { power_mw: 'not_supported' } });
    expect(says.unknown(reading, { ...device, remote: true })).toContain('power: not in the metrics of its exporter');
    expect(says.missing('not_answering', { ...device, remote: true })).toBe('nothing new of it');
    expect(says.missing('not_answering', device)).toBe('the GPU does not answer');
  });

  it('says why a strip is hatched all over', () => {
    expect(says.hatched(scene, null)).toBe('not measured in this time');
    const lost = { ...device, trouble: 'It does not answer.' };
    expect(says.hatched({ ...scene, subject: lost, reading: undefined }, null)).toBe('It does not answer.');
  });

  it('says of a time that is past what was amiss then', () => {
    const reasons: UnknownSince[] = [
      { since: 500, missing: { utilization_percent: 'lost' } },
      { since: 600, missing: {} }
    ];
    const track = new Track({ ...NO_HISTORY, reasons, missing: {} });
    const reading = sample({ missing: { utilization_percent: 'not_permitted' } });
    const past = { ...scene, track, reading, range: { from: 520, to: 560 } };
    expect(says.hatched(past, null)).toBe('busy: the GPU does not answer');
    expect(says.line('busy', null, past)).toBe('the GPU does not answer');
    expect(says.hatched({ ...past, range: { from: 700, to: 900 } }, null)).toBe('not measured in this time');
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
