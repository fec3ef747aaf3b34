import type { ISettingRegistry } from '@jupyterlab/settingregistry';

import { PLUGIN_ID } from './tokens';

/** What schema/plugin.json describes. */
export interface Settings {
  memoryGb: number;
  durationHours: number;
  notifications: boolean;
  saveBeforeEnd: boolean;
}

export const DEFAULTS: Settings = { memoryGb: 10, durationHours: 2, notifications: true, saveBeforeEnd: true };

function read(composite: Readonly<Record<string, unknown>>): Settings {
  const number = (name: 'memoryGb' | 'durationHours'): number => {
    const value = composite[name];
    return typeof value === 'number' ? value : DEFAULTS[name];
  };
  return {
    memoryGb: number('memoryGb'),
    durationHours: number('durationHours'),
    notifications: composite.notifications !== false,
    saveBeforeEnd: composite.saveBeforeEnd !== false
  };
}

/** Call with the settings now, and whenever they change. */
export function followSettings(registry: ISettingRegistry | null, apply: (settings: Settings) => void): void {
  registry
    ?.load(PLUGIN_ID)
    .then(settings => {
      const tell = (): void => apply(read(settings.composite));
      settings.changed.connect(tell);
      tell();
    })
    .catch((error: unknown) => console.warn('The settings of the GPU panel can not be read; its defaults hold.', error));
}
