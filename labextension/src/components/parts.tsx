import { Button } from '@jupyterlab/ui-components';
import type { JSX, ReactNode } from 'react';

import type { Problem } from '../_wire';

export interface SectionProps {
  id: string;
  title: string;
  /** What stands at the right of the title. */
  pills?: readonly string[];
  children: ReactNode;
}

export function Section({ id, title, pills = [], children }: SectionProps): JSX.Element {
  return (
    <section className="jp-Gpu-section" aria-labelledby={`jp-Gpu-${id}`}>
      <div className="jp-Gpu-heading">
        <h2 id={`jp-Gpu-${id}`}>{title}</h2>
        {pills.map((pill, n) => (
          <span key={n} className="jp-Gpu-pill" title={pill}>
            {pill}
          </span>
        ))}
      </div>
      {children}
    </section>
  );
}

export interface ActionProps {
  label: string;
  /** Said to those who can't see what stands beside the button. */
  about?: string;
  look?: 'main' | 'outline' | 'quiet';
  disabled?: boolean;
  onClick: () => void;
}

/** A disabled one keeps the focus: it is disabled while its own work is under way. */
export function Action({ label, about, look = 'quiet', disabled = false, onClick }: ActionProps): JSX.Element {
  return (
    <Button
      type="button"
      className={`jp-Gpu-action jp-mod-${look}`}
      aria-label={about}
      aria-disabled={disabled}
      onClick={() => {
        if (!disabled) {
          onClick();
        }
      }}
    >
      {label}
    </Button>
  );
}

export interface LinkProps {
  label: string;
  about?: string;
  expanded?: boolean;
  controls?: string;
  onClick: () => void;
}

/** Looks like a link, acts like a button. */
export function Link({ label, about, expanded, controls, onClick }: LinkProps): JSX.Element {
  return (
    <button
      type="button"
      className="jp-Gpu-link"
      aria-label={about}
      aria-expanded={expanded}
      aria-controls={expanded ? controls : undefined}
      onClick={onClick}
    >
      {label}
    </button>
  );
}

export function Trouble({ problem }: { problem: Problem | null | undefined }): JSX.Element | null {
  if (!problem) {
    return null;
  }
  return (
    <div className="jp-Gpu-note jp-mod-warn" role="status">
      {problem.detail}
      {problem.hint ? ` ${problem.hint}` : ''}
    </div>
  );
}
