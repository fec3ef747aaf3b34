import { describe, expect, it } from 'vitest';

import { NO_HISTORY } from '../testing';
import { cell, csvOf, fileName } from './csv';
import { Track } from './track';

const track = new Track({
  ...NO_HISTORY,
  subject: 'GPU-1',
  interval_s: 10,
  times: [990, 1000, 1010, 1100],
  utilization_percent: [1, 20.12345, null, 99],
  utilization_percent_max: [1, 40, null, 99],
  memory_used_bytes: [1e9, 1e9, 2e9, 3e9],
  memory_used_bytes_max: [1e9, 1e9, 2e9, 3e9],
  power_mw: [70_000, 90_500, null, 70_000],
  power_mw_max: [70_000, 400_000, null, 70_000],
  missing: {},
  reasons: [
    { since: 1010, missing: { utilization_percent: 'not_supported' } },
    { since: 1020, missing: {} }
  ]
});

describe('the file of what is shown', () => {
  const shown = [
    { id: 'GPU-1', kind: 'device', title: 'A100, whole', track, why: '' },
    { id: 'GPU-2', kind: 'device', title: 'T4', track: null, why: 'The GPU does not answer.' }
  ];
  const lines = csvOf(shown, { from: 1000, to: 1100 }).split('\r\n');

  it('has a line for each bucket that is shown, and no other', () => {
    expect(lines.length).toBe(1 + 2 + 1 + 1);
    expect(lines[1]).toContain('1970-01-01T00:16:40.000Z,1000,10,device,GPU-1,"A100, whole",20.123,40,,,1000000000');
    expect(lines[1]).toContain(',90500,400000,');
  });

  it('leaves empty what is not known, and says why', () => {
    expect(lines[2]).toContain('"A100, whole",,,,,2000000000,2000000000,,,');
    expect(lines[2]).toContain('utilization_percent: not_supported; sm_activity_percent: not_measured; power_mw: not_measured');
    expect(lines[3]).toBe(',,,device,GPU-2,T4,,,,,,,,,The GPU does not answer.');
  });

  it('has the same number of cells in every line', () => {
    const plain = csvOf([{ ...(shown[0] ?? { id: '', kind: '', why: '' }), title: 'A100', track }], { from: 1000, to: 1100 });
    const counts = plain.trimEnd().split('\r\n').map(line => line.split(',').length);
    expect(new Set(counts)).toEqual(new Set([15]));
  });

  it('is named after its time', () => {
    expect(fileName({ from: 0, to: 3600 })).toBe('gpu-monitor-19700101T0000-19700101T0100.csv');
  });
});

describe('a cell', () => {
  it('is not taken for a formula', () => {
    expect(cell('=HYPERLINK("x")')).toBe('"\'=HYPERLINK(""x"")"');
    expect(cell('-1+1')).toBe("'-1+1");
    expect(cell(-1)).toBe('-1');
  });

  it('quotes what has to be quoted', () => {
    expect(cell('a,b')).toBe('"a,b"');
    expect(cell('two\nlines')).toBe('"two\nlines"');
    expect(cell(null)).toBe('');
    expect(cell(0)).toBe('0');
  });
});
