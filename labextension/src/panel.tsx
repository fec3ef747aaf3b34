import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import type { JSX } from 'react';

import { type Tools, ToolsContext } from './components/context';
import { PanelBody } from './components/panel';
import { gpuIcon } from './icon';
import { keepFocus } from './keepfocus';
import { takeFocus } from './takefocus';
import { PANEL_ID } from './tokens';

/** The panel in the left side bar. */
export class GpuPanel extends ReactWidget {
  private letFocusGo = (): void => undefined;
  private endTaking = (): void => undefined;

  constructor(
    private readonly tools: Tools,
    /** Called when it comes into sight or goes out of it. */
    private readonly onSight: (seen: boolean) => void
  ) {
    super();
    const { trans } = tools.words;
    this.id = PANEL_ID;
    this.addClass('jp-Gpu');
    this.title.icon = gpuIcon;
    this.title.caption = trans.__('GPUs');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('GPUs'));
  }

  /** Put the keyboard where the next thing to do is, and keep it there while the command palette closes. */
  takeFocus(): void {
    this.endTaking();
    this.endTaking = takeFocus(this.node, () =>
      this.node.querySelector<HTMLElement>('.jp-Gpu-action, select, button')
    );
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.onSight(true);
  }

  protected override onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this.onSight(false);
  }

  protected override onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this.letFocusGo = keepFocus(this.node);
    this.onSight(this.isVisible);
  }

  protected override onBeforeDetach(msg: Message): void {
    super.onBeforeDetach(msg);
    this.letFocusGo();
    this.endTaking();
    this.onSight(false);
  }

  protected override render(): JSX.Element {
    return (
      <ToolsContext.Provider value={this.tools}>
        <PanelBody />
      </ToolsContext.Provider>
    );
  }
}
