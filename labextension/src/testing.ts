import { nullTranslator } from '@jupyterlab/translation';

import type { FlavorView, History, Offer, Pool, SampleView, SessionView } from './_wire';
import { Words } from './words';

/** What the unit tests are made of. */
export const words = new Words(nullTranslator.load('swangpu'), 'en');

export function session(change: Partial<SessionView> = {}): SessionView {
  return {
    id: 's1',
    kind: 'kernel',
    state: 'active',
    end_reason: null,
    reason: null,
    pool: 'local',
    flavor: 'a100-40gb/2g.10gb',
    title: 'A100 slice, 10 GB',
    count: 1,
    memory_bytes: 10e9,
    duration_s: 7200,
    created_at: 1000,
    started_at: 1000,
    claim_by: null,
    ends: { at: 8200, cause: 'lease', title: null },
    lease_until: 8200,
    idle_since: null,
    queue_position: null,
    queue_length: null,
    estimate: null,
    shares: [],
    kernel_ids: ['k1'],
    path: 'fit.ipynb',
    user: 'ada',
    mine: true,
    actions: ['extend', 'release'],
    undo_until: null,
    simulated: true,
    purpose: null,
    project: null,
    warning: null,
    environment: {},
    ...change
  };
}

export function sample(change: Partial<SampleView> = {}): SampleView {
  return {
    taken_at: 1000,
    utilization_percent: 71.4,
    memory_used_bytes: 3.2e9,
    memory_total_bytes: 10e9,
    power_mw: null,
    temperature_c: null,
    process_count: 1,
    utilization_percent_max: 90,
    sm_activity_percent: null,
    sm_clock_mhz: null,
    throttle_reasons: null,
    pcie_tx_bytes_per_s: null,
    pcie_rx_bytes_per_s: null,
    nvlink_tx_bytes_per_s: null,
    nvlink_rx_bytes_per_s: null,
    ecc_uncorrected_count: null,
    last_xid: null,
    last_xid_at: null,
    missing: {},
    ...change
  };
}

export const NO_HISTORY: History = {
  reasons: [],
  subject: 'GPU-1',
  interval_s: 1,
  times: [],
  utilization_percent: [],
  utilization_percent_min: [],
  utilization_percent_max: [],
  memory_used_bytes: [],
  memory_used_bytes_max: [],
  power_mw: [],
  power_mw_max: [],
  temperature_c_max: [],
  sm_activity_percent: [],
  sm_activity_percent_max: [],
  missing: {}
};

export function offer(change: Partial<Offer> = {}): Offer {
  return {
    pool: 'swan',
    pool_title: 'SWAN',
    flavor: 'a100-40gb/2g.10gb',
    title: 'A100 slice, 10 GB',
    memory_bytes: 10e9,
    free: 3,
    total: 14,
    estimate: { p50_s: 0, p90_s: 0, basis: 'free_now' },
    cost_per_hour: null,
    currency: null,
    as_of: 1000,
    simulated: false,
    capacity_id: 'x',
    ...change
  };
}

export function flavor(change: Partial<FlavorView> = {}): FlavorView {
  return {
    name: 't4',
    title: 'T4',
    memory_bytes: 16e9,
    kind: 'whole',
    total: 16,
    free: 2,
    busy: 5,
    held_idle: 9,
    taken: 0,
    queued: 0,
    cost_per_hour: null,
    currency: null,
    ...change
  };
}

export function pool(change: Partial<Pool> = {}): Pool {
  return {
    name: 'local',
    title: 'This machine',
    managed: true,
    available: true,
    reason: null,
    hint: null,
    simulated: false,
    as_of: 1000,
    flavors: [],
    ...change
  };
}
