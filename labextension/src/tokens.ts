import type { ISignal } from '@lumino/signaling';
import { Token } from '@lumino/coreutils';

import type { SessionView } from './_wire';

export const PLUGIN_ID = 'swangpu:plugin';
export const PANEL_ID = 'swangpu-panel';
export const MONITOR_ID = 'swangpu-monitor';
export const TRANSLATION_DOMAIN = 'swangpu';

export namespace CommandIDs {
  export const open = 'swangpu:open';
  export const monitor = 'swangpu:monitor';
  export const get = 'swangpu:get';
  export const start = 'swangpu:start';
  export const extend = 'swangpu:extend';
  export const release = 'swangpu:release';
}

/** What other extensions may ask: the GPU sessions of the person, as the panel knows them. */
export interface IGpuSessions {
  /** Null until the server has answered. */
  readonly sessions: readonly SessionView[] | null;
  readonly changed: ISignal<IGpuSessions, void>;
}

export const IGpuSessions = new Token<IGpuSessions>(
  'swangpu:IGpuSessions',
  'The GPU sessions of the person, live. Use it to show or react to them elsewhere.'
);
