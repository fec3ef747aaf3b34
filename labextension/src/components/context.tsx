import { createContext, useContext, useEffect, useState, useSyncExternalStore } from 'react';

import type { SessionView } from '../_wire';
import type { Actions } from '../actions';
import type { Model, State } from '../model';
import type { Words } from '../words';

/** What every part of the panel works with. */
export interface Tools {
  model: Model;
  actions: Actions;
  words: Words;
  /** The notebook of a session, by the name that it has now. */
  pathOf: (session: SessionView) => string | null;
  openNotebook: (path: string) => void;
  openMonitor: () => void;
}

export const ToolsContext = createContext<Tools | null>(null);

export function useTools(): Tools {
  const tools = useContext(ToolsContext);
  if (!tools) {
    throw new Error('The GPU panel is drawn outside of its context.');
  }
  return tools;
}

export function useModel(): State {
  const { model } = useTools();
  return useSyncExternalStore(model.subscribe, model.snapshot);
}

/** The server's time, taken again every so often while this is drawn. */
export function useNow(everyMs = 5000): number {
  const { model } = useTools();
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = window.setInterval(() => tick(n => n + 1), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
  return model.now();
}
