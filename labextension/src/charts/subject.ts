import type { History, SampleView } from '../_wire';
import type { Range } from './timeline';

/** What a row of the Monitor is about. */
export interface Subject {
  /** UUID of a device or MIG device, or a session's id. */
  id: string;
  kind: 'session' | 'device' | 'mig';
  title: string;
  /** The pool of a device, the notebook of a session. */
  detail: string;
  memoryBytes: number | null;
  simulated: boolean;
  /** Of another machine: read at the pace of who scrapes it, so its age is said. */
  remote?: boolean;
  /** Why nothing comes from it now; empty when it answers. */
  trouble: string;
}

export type Readings = Readonly<Record<string, SampleView | undefined>>;

/** Asks for what a subject did. Rejects with an error whose message is for the person. */
export type Ask = (subject: Subject, range: Range, points: number, signal: AbortSignal) => Promise<History>;
