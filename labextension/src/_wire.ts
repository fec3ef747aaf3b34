// Generated from src/swangpu/wire by `python -m swangpu.wire_ts --write`. Do not edit.

/** The kernel to put on a session: by notebook path or by kernel id, one of the two. */
export interface Attach {
  path?: string | null;
  kernel_id?: string | null;
  carry?: 'all' | 'none';
}

/** Body of `POST /sessions/{id}/attach`. `in_place`: the kernel has put itself on the share already. */
export interface AttachRequest {
  path?: string | null;
  kernel_id?: string | null;
  carry?: 'all' | 'none';
  in_place?: boolean;
}

/** `event: changes`, where it was asked for: what of a topic differs from the event before. */
export interface ChangesEvent {
  topic: 'pools' | 'sessions' | 'telemetry';
  as_of: number;
  changed: Record<string, unknown>;
  gone?: string[][];
}

/** Documentation only: collections answer `{"items": [...], "as_of": t}`. */
export interface Collection {
  items: unknown[];
  as_of: number;
}

export interface Demand {
  items: DemandRow[];
  as_of: number;
}

export interface DemandRow {
  key: string;
  looked: number;
  granted: number;
  refused: number;
  given_up: number;
  unclaimed: number;
  settled: number;
  failed: number;
  waited_p50_s: number | null;
  waited_p90_s: number | null;
}

/** Body of `POST /sessions/{id}/detach`; no kernel means all of them. */
export interface DetachRequest {
  kernel_id?: string | null;
  carry?: 'all' | 'none';
  in_place?: boolean;
}

/** A GPU. `pool` is empty for one that can't be got here. */
export interface Device {
  uuid: string;
  index: number;
  name: string;
  memory_bytes: number;
  pool: string;
  simulated: boolean;
  mig_devices: MigDeviceView[];
  sample: SampleView | null;
  lost: ReasonView | null;
  remote: RemoteView | null;
}

export interface Devices {
  items: Device[];
  as_of: number;
  driver: ReasonView | null;
  remote: ReasonView | null;
}

/** The body of calls that take none. */
export type Empty = Record<string, never>;

/** The first thing that will end a session, as far as is known; `title` is the reservation's, where one will. */
export interface Ends {
  at: number;
  cause: 'claim_window' | 'idle' | 'kernel_idle_limit' | 'lease' | 'linger' | 'quota' | 'reservation' | 'server_idle_limit';
  title?: string | null;
}

/** Waiting time in seconds: half of the cases under `p50_s`, nine of ten under `p90_s`. */
export interface Estimate {
  p50_s: number;
  p90_s: number;
  basis: string;
}

/** Why a session is where it is: the numbers behind the sentence. */
export interface Explanation {
  session_id: string;
  reason: ReasonView;
  queue_position: number | null;
  queue_length: number | null;
  ahead: string[];
  estimate: Estimate | null;
  candidates: FlavorView[];
  next_free_at: number[];
  priority: string;
  held_device_s: number;
  group: string | null;
  group_held_device_s: number | null;
  group_weight: number | null;
  half_life_s: number;
  quotas: QuotaUse[];
  reservations: ReservationView[];
}

/** Body of `POST /sessions/{id}/extend`. */
export interface ExtendRequest {
  duration_s?: number;
}

/** One flavor in one pool, counted in shares. `busy`, `held_idle` and `taken` add to `total` with `free`. */
export interface FlavorView {
  name: string;
  title: string;
  memory_bytes: number;
  kind: string;
  total: number;
  free: number;
  busy: number;
  held_idle: number;
  taken: number;
  queued: number;
  cost_per_hour: number | null;
  currency: string | null;
}

/** `event: hello`, the first of a stream: `snapshot` is false when it continues from `Last-Event-ID`. */
export interface Hello {
  epoch: string;
  snapshot: boolean;
  server: string;
  simulated: boolean;
}

/** What can't be told one by one of a device: how many are others', or why processes are not seen at all. */
export interface HiddenProcesses {
  device_uuid: string;
  mig_uuid: string | null;
  count: number | null;
  memory_bytes: number | null;
  reason: ReasonView | null;
}

/** A down-sampled series: parallel lists, null where nothing is known; `_max` keeps the peaks. */
export interface History {
  subject: string;
  interval_s: number;
  times: number[];
  utilization_percent: (number | null)[];
  utilization_percent_min: (number | null)[];
  utilization_percent_max: (number | null)[];
  memory_used_bytes: (number | null)[];
  memory_used_bytes_max: (number | null)[];
  power_mw: (number | null)[];
  power_mw_max: (number | null)[];
  temperature_c_max: (number | null)[];
  sm_activity_percent: (number | null)[];
  sm_activity_percent_max: (number | null)[];
  missing: Record<string, string>;
  reasons: UnknownSince[];
}

/** What attaching would do to a kernel. Answer of `GET /kernels/preview`. */
export interface KernelPreview {
  kernel_id: string;
  restart_needed: boolean;
  carry_supported: boolean;
  carried: string[];
  left: NameAndWhy[];
  stack: StackFinding[];
  warning: ReasonView | null;
}

/** Body of `POST /sessions/{id}/look`: have a reading each second for so long; ask again to go on. */
export interface LookRequest {
  for_s?: number;
}

/** Until when there is a reading each second. */
export interface Looking {
  until: number;
}

export interface MigDeviceView {
  uuid: string;
  profile: string;
  memory_bytes: number;
  sample: SampleView | null;
  pods: PodsView | null;
}

export interface NameAndWhy {
  name: string;
  why: string;
}

/** Something a person should know, with what can be done about it. */
export interface Notice {
  id: string;
  at: number;
  code: string;
  level: 'error' | 'info' | 'success' | 'warning';
  text: string;
  params: Record<string, string | number | number | null>;
  session_id: string | null;
  actions: string[];
}

/** `event: notices`. */
export interface NoticesEvent {
  as_of: number;
  items: Notice[];
}

/** One line of the answer to "where can I get this?". */
export interface Offer {
  pool: string;
  pool_title: string;
  flavor: string;
  title: string;
  memory_bytes: number;
  free: number;
  total: number;
  estimate: Estimate | null;
  cost_per_hour: number | null;
  currency: string | null;
  as_of: number;
  simulated: boolean;
  capacity_id: string;
}

export interface Offers {
  items: Offer[];
  as_of: number;
  advice?: ReasonView | null;
}

export interface PodView {
  namespace: string;
  name: string;
}

/** Which pods hold a GPU of the site: how many, and for operators which. None is not known, and has a reason. */
export interface PodsView {
  count: number | null;
  items: PodView[] | null;
  reason: ReasonView | null;
}

export interface Pool {
  name: string;
  title: string;
  managed: boolean;
  available: boolean;
  reason: ReasonView | null;
  hint: string | null;
  simulated: boolean;
  as_of: number;
  flavors: FlavorView[];
}

export interface Pools {
  items: Pool[];
  as_of: number;
}

/** `event: pools`. */
export interface PoolsEvent {
  as_of: number;
  items: Pool[];
}

/** RFC 9457 problem details. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  detail: string;
  hint: string;
  params: Record<string, unknown>;
}

/** A process on a device or MIG device. `kind`: `mine`, `others` (an operator sees them), or `unheld`: it */
export interface ProcessView {
  device_uuid: string;
  mig_uuid: string | null;
  pid: number;
  name: string;
  kind: 'mine' | 'others' | 'unheld';
  session_id: string | null;
  kernel_id: string | null;
  path: string | null;
  how: string | null;
  memory_bytes: number | null;
  sm_percent: number | null;
}

export interface Processes {
  items: ProcessView[];
  hidden: HiddenProcesses[];
  as_of: number;
}

/** Body of `POST /sessions/{id}/profiles`: a cell has run. Times are Unix seconds. */
export interface ProfileRequest {
  started_at: number;
  ended_at: number;
  run_id: string;
  kernel_id?: string | null;
  every_cell?: boolean;
  allocators?: string[];
  allocator_peak_bytes?: number | null;
  allocator_at_most?: boolean;
  run_peak_bytes?: number | null;
}

/** What one cell did on a GPU. A figure that is null has its reason in `missing`. */
export interface ProfileView {
  session_id: string;
  path: string | null;
  kernel_id: string | null;
  started_at: number;
  ended_at: number;
  wall_s: number;
  busy_percent: number | null;
  busy_percent_min: number | null;
  busy_percent_max: number | null;
  memory_peak_bytes: number | null;
  memory_source: string | null;
  allocators: string[];
  energy_mj: number | null;
  samples: number;
  shared: boolean;
  missing: Record<string, string>;
  verdict: ReasonView | null;
  simulated: boolean;
}

export interface Profiles {
  items: ProfileView[];
  as_of: number;
}

/** A quota that concerns a session. `whose`: `you` or a group; `limit` null is without limit. */
export interface QuotaUse {
  whose: string;
  flavor: string;
  held: number;
  nominal: number;
  limit: number | null;
}

/** Why something is so: a code to translate, its numbers, and the English sentence. */
export interface ReasonView {
  code: string;
  params: Record<string, string | number | number | null>;
  text: string;
}

/** Where a GPU is that is not this machine's, as the site's Prometheus knows it. It can be watched, not got. */
export interface RemoteView {
  host: string;
  age_s: number | null;
  pods: PodsView;
}

/** Shares that are set aside for a time; for whom is not told. */
export interface ReservationView {
  title: string;
  start: number;
  end: number;
  flavor: string;
  count: number;
  for_you: boolean;
}

/** One reading. A field that is null has its reason in `missing`. */
export interface SampleView {
  taken_at: number;
  utilization_percent: number | null;
  memory_used_bytes: number | null;
  memory_total_bytes: number | null;
  power_mw: number | null;
  temperature_c: number | null;
  process_count: number | null;
  utilization_percent_max: number | null;
  sm_activity_percent: number | null;
  sm_clock_mhz: number | null;
  throttle_reasons: string[] | null;
  pcie_tx_bytes_per_s: number | null;
  pcie_rx_bytes_per_s: number | null;
  nvlink_tx_bytes_per_s: number | null;
  nvlink_rx_bytes_per_s: number | null;
  ecc_uncorrected_count: number | null;
  last_xid: number | null;
  last_xid_at: number | null;
  missing: Record<string, string>;
}

/** Body of `POST /sessions`: flavor or memory, one of the two; empty `pools` means any, first wins. */
export interface SessionRequest {
  kind?: 'cluster' | 'job' | 'kernel' | 'server';
  flavor?: string | null;
  memory_bytes?: number | null;
  count?: number;
  duration_s?: number | null;
  pools?: string[];
  project?: string | null;
  purpose?: string | null;
  attach?: Attach | null;
  on_ready?: 'hold' | 'notify';
  options?: Record<string, string>;
  priority?: 'backfill' | 'interactive' | 'job' | null;
}

/** One session, as its owner or an operator sees it. `actions` are the calls that would work now. */
export interface SessionView {
  id: string;
  kind: 'cluster' | 'job' | 'kernel' | 'server';
  state: 'active' | 'ended' | 'ending' | 'paused' | 'queued' | 'ready';
  end_reason: string | null;
  reason: ReasonView | null;
  pool: string | null;
  flavor: string | null;
  title: string;
  count: number;
  memory_bytes: number | null;
  duration_s: number;
  created_at: number;
  started_at: number | null;
  claim_by: number | null;
  ends: Ends | null;
  lease_until: number | null;
  idle_since: number | null;
  queue_position: number | null;
  queue_length: number | null;
  estimate: Estimate | null;
  shares: ShareView[];
  kernel_ids: string[];
  path: string | null;
  user: string;
  mine: boolean;
  actions: string[];
  undo_until: number | null;
  simulated: boolean;
  purpose: string | null;
  project: string | null;
  warning: ReasonView | null;
  environment: Record<string, string>;
}

export interface Sessions {
  items: SessionView[];
  as_of: number;
}

/** `event: sessions`: all of a person's sessions that are not long ended. */
export interface SessionsEvent {
  as_of: number;
  items: SessionView[];
}

export interface ShareView {
  id: string;
  device_uuid: string;
  mig_uuid: string | null;
  profile: string | null;
}

/** A GPU library found in the kernel's environment: `cuda` false means that it cannot use a GPU. */
export interface StackFinding {
  package: string;
  version: string | null;
  cuda: boolean | null;
  text: string;
}

/** `event: telemetry`: what each session uses, by id; with the topic `devices` the latest samples, by UUID. */
export interface TelemetryEvent {
  as_of: number;
  samples: Record<string, SampleView>;
  sessions: Record<string, SampleView>;
}

/** From when on which fields were not known, and why, until the next of them. */
export interface UnknownSince {
  since: number;
  missing: Record<string, string>;
}

export interface Usage {
  items: UsageRow[];
  as_of: number;
}

export interface UsageRow {
  key: string;
  sessions: number;
  held_gpu_s: number;
  busy_s: number | null;
}
