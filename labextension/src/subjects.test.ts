import { expect, it } from 'vitest';

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
  mig_devices: [{ uuid: 'MIG-1', profile: '1g.5gb', memory_bytes: 5e9, sample: null }],
  sample: null,
  lost: null
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
