// Runs in the page before anything of JupyterLab's: 64 synthetic devices in place of the server's, so that the browser
// is measured and not the server. Only the calls of the Monitor are answered here; all others go to the server.
(() => {
  const DEVICES = 64;
  const HISTORY_STEP_S = 1;
  const now = () => Date.now() / 1000;
  const uuid = n => `GPU-synthetic-${String(n).padStart(2, '0')}`;
  const missing = {};

  // A load that any time and device gives again: plateaus, pauses, and noise.
  function busy(n, at) {
    const block = Math.floor((at + 37 * n) / (60 + 7 * (n % 9)));
    const seed = Math.abs(Math.sin(block * 12.9898 + n * 78.233) * 43758.5453) % 1;
    const noise = Math.abs(Math.sin(at * 91.7 + n) * 24634.6345) % 1;
    return seed < 0.35 ? 0 : Math.min(100, 100 * seed * (0.85 + 0.15 * noise));
  }

  function sample(n, at) {
    const percent = busy(n, at);
    return {
      taken_at: at,
      utilization_percent: percent,
      memory_used_bytes: Math.round(4e9 + 3e8 * percent),
      memory_total_bytes: 40e9,
      power_mw: Math.round(60_000 + 3000 * percent),
      temperature_c: Math.round(35 + percent / 3),
      process_count: percent ? 1 : 0,
      utilization_percent_max: Math.min(100, percent + 4),
      sm_activity_percent: percent * 0.8,
      sm_clock_mhz: 1410,
      throttle_reasons: percent > 97 ? ['power_cap'] : [],
      pcie_tx_bytes_per_s: 1e8,
      pcie_rx_bytes_per_s: 1e8,
      nvlink_tx_bytes_per_s: null,
      nvlink_rx_bytes_per_s: null,
      ecc_uncorrected_count: 0,
      last_xid: null,
      last_xid_at: null,
      missing
    };
  }

  function history(query) {
    const n = Number((query.get('device') ?? '').slice(-2));
    const to = Number(query.get('to') ?? now());
    const from = Number(query.get('from') ?? to - 3600);
    const interval = Math.max(HISTORY_STEP_S, Math.ceil((to - from) / Number(query.get('points') ?? 240)));
    const columns = { times: [], busy: [], low: [], high: [], memory: [], power: [], heat: [], activity: [] };
    for (let start = Math.floor(from / interval) * interval; start < to; start += interval) {
      let sum = 0;
      let low = 100;
      let high = 0;
      for (let at = start; at < start + interval; at += HISTORY_STEP_S) {
        const value = busy(n, at);
        sum += value;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
      const mean = sum / interval;
      columns.times.push(start);
      columns.busy.push(mean);
      columns.low.push(low);
      columns.high.push(high);
      columns.memory.push(Math.round(4e9 + 3e8 * mean));
      columns.power.push(Math.round(60_000 + 3000 * mean));
      columns.heat.push(Math.round(35 + high / 3));
      columns.activity.push(mean * 0.8);
    }
    return {
      subject: uuid(n),
      interval_s: interval,
      times: columns.times,
      utilization_percent: columns.busy,
      utilization_percent_min: columns.low,
      utilization_percent_max: columns.high,
      memory_used_bytes: columns.memory,
      memory_used_bytes_max: columns.memory,
      power_mw: columns.power,
      temperature_c_max: columns.heat,
      sm_activity_percent: columns.activity,
      missing
    };
  }

  function devices() {
    const items = Array.from({ length: DEVICES }, (_, n) => ({
      uuid: uuid(n),
      index: n,
      name: 'Synthetic 40GB',
      memory_bytes: 40e9,
      pool: 'synthetic',
      simulated: true,
      mig_devices: [],
      sample: null,
      lost: null
    }));
    return { items, as_of: now(), driver: null };
  }

  const real = window.fetch.bind(window);
  const asked = { history: 0, bytes: 0 };
  window.__swangpuAsked = asked;
  window.fetch = (input, init) => {
    const url = new URL(typeof input === 'string' ? input : input.url, window.location.href);
    const call = /\/swangpu\/api\/v1\/(devices|history)$/.exec(url.pathname)?.[1];
    if (!call) {
      return real(input, init);
    }
    const text = JSON.stringify(call === 'devices' ? devices() : history(url.searchParams));
    if (call === 'history') {
      asked.history += 1;
      asked.bytes += text.length;
    }
    return Promise.resolve(new Response(text, { headers: { 'Content-Type': 'application/json' } }));
  };

  // The event stream: every second all devices, as text, so that what the page does to read it counts.
  class SyntheticSource extends EventTarget {
    constructor() {
      super();
      this.onopen = null;
      this.onerror = null;
      const send = (type, data) => this.dispatchEvent(new MessageEvent(type, { data: JSON.stringify(data) }));
      setTimeout(() => {
        this.onopen?.(new Event('open'));
        send('hello', { epoch: 'synthetic', snapshot: true, server: 'synthetic', simulated: true });
        send('sessions', { as_of: now(), items: [] });
        send('pools', { as_of: now(), items: [] });
      });
      this.timer = setInterval(() => {
        const at = now();
        const samples = Object.fromEntries(Array.from({ length: DEVICES }, (_, n) => [uuid(n), sample(n, at)]));
        send('telemetry', { as_of: at, samples, sessions: {} });
      }, 1000);
    }
    close() {
      clearInterval(this.timer);
    }
  }
  window.EventSource = SyntheticSource;
})();
