import { describe, expect, it } from 'vitest';

import type { Device } from './_wire';
import { subjectsOf } from './subjects';
import { pool, session, words } from './testing';

const device: Device = {
  uuid: 'GPU-1',
  index: 0,
  name: 'NVIDIA A100-SXM4-40GB',
  memory_bytes: 40e9,
  pool: 'local',
  simulated: true,
  mig_devices: [{ uuid: 'MIG-1', profile: '1g.5gb', memory_bytes: 5e9, sample: null, pods: null }],
  sample: null,
  lost: null,
  remote: null
};

it('has a row for each session that has begun, each device and each slice', () => {
  const sessions = [session(), session({ id: 's2', state: 'queued' }), session({ id: 's3', state: 'paused' })];
  const rows = subjectsOf([device], { pools: [pool()], sessions }, words, one => one.path);
  expect(rows.map(({ id, kind }) => `${kind} ${id}`)).toEqual(['session s1', 'session s3', 'device GPU-1', 'mig MIG-1']);
  expect(rows[0]?.detail).toBe('fit.ipynb');
  expect(rows[1]?.detail).toBe('fit.ipynb · paused');
  expect(rows[2]).toMatchObject({ title: 'GPU 0 · A100-SXM4-40GB', detail: 'This machine · simulated' });
});

it('says of a device and its slices that it does not answer', () => {
  const lost = { ...device, lost: { code: 'lost', params: {}, text: 'It fell off the bus.' } };
  const rows = subjectsOf([lost], { pools: null, sessions: null }, words, () => null);
  expect(rows.map(({ trouble }) => trouble)).toEqual(['It fell off the bus.', 'It fell off the bus.']);
});

describe('a GPU of another machine', () => {
  const pods = { count: 2, items: null, reason: null };
  const elsewhere: Device = {
    ...device,
    uuid: 'GPU-a',
    memory_bytes: 0,
    pool: '',
    simulated: false,
    mig_devices: [{ uuid: 'GPU-a/1', profile: '1g.5gb', memory_bytes: 5e9, sample: null, pods: { ...pods, count: 0 } }],
    remote: { host: 'node-1', age_s: 12, pods }
  };

  it('says where it is and how many pods hold it', () => {
    const rows = subjectsOf([device, elsewhere], { pools: [pool()], sessions: [] }, words, () => null);
    expect(rows.map(({ remote }) => remote)).toEqual([false, false, true, true]);
    expect(rows[2]).toMatchObject({ title: 'node-1 · GPU 0', detail: 'A100-SXM4-40GB · held by 2 pods' });
    expect(rows[2]).toMatchObject({ memoryBytes: null, simulated: false });
    expect(rows[3]).toMatchObject({ detail: 'no pod holds it', kind: 'mig' });
  });

  it('says what is not known as such, and names pods only where they are told', () => {
    const reason = { code: 'pods_not_told', params: {}, text: '' };
    expect(words.pods({ count: null, items: null, reason })).toBe('who holds it is not known');
    expect(words.pods({ ...pods, count: 1 })).toBe('held by 1 pod');
    const items = [
      { namespace: 'swan', name: 'jupyter-alice' },
      { namespace: 'course', name: 'student-1' }
    ];
    expect(words.pods({ ...pods, items })).toBe('swan/jupyter-alice and course/student-1');
  });

  it('has its trouble in words', () => {
    const lost = { code: 'not_scraped', params: { age_s: 200 }, text: 'Nothing new.' };
    const [row] = subjectsOf([{ ...elsewhere, lost }], { pools: [], sessions: [] }, words, () => null);
    expect(row?.trouble).toBe('nothing new of it for 3\u00a0min');
    expect(words.reason({ code: 'prometheus_away', params: {}, text: '' })).toContain('Prometheus does not answer');
    expect(words.reason({ code: 'remote_left_out', params: { count: 1 }, text: '' })).toBe(
      '1 more GPU of the site is not shown here.'
    );
  });
});
