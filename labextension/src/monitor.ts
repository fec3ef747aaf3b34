import { Widget } from '@lumino/widgets';
import type { Message } from '@lumino/messaging';

import type { Devices, SessionView } from './_wire';
import type { Api } from './api';
import type { Ask, Readings, Subject } from './charts/subject';
import { MonitorView } from './charts/view';
import { gpuIcon } from './icon';
import { problemOf, type Model } from './model';
import { subjectsOf } from './subjects';
import type { Words } from './words';

export interface MonitorOptions {
  api: Api;
  model: Model;
  words: Words;
  pathOf: (session: SessionView) => string | null;
  /** Called when it comes into sight or goes out of it. */
  onSight: (seen: boolean) => void;
}

/** Devices come and go rarely. */
const DEVICES_EVERY_MS = 30_000;
const PROCESSES_EVERY_MS = 3000;

/** The GPU Monitor in the main area: what the model and the API know, in the view that widgets share. */
export class GpuMonitor extends Widget {
  private readonly view: MonitorView;
  private readonly forget: (() => void)[];
  private devices: Devices | null = null;
  private readings: Readings = {};
  private key = '';
  private link = '';
  private isSeen = false;
  private timers: number[] = [];

  constructor(private readonly options: MonitorOptions) {
    super();
    const { model, words } = options;
    const { trans } = words;
    this.addClass('jp-Gpu-monitor');
    this.title.label = trans.__('GPU Monitor');
    this.title.icon = gpuIcon;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('GPU Monitor'));
    this.view = new MonitorView({ words, ask: this.ask, now: () => model.now() });
    this.node.append(this.view.node);
    this.forget = [
      model.subscribe(() => this.follow()),
      model.onTelemetry(({ samples, sessions }) => {
        this.readings = { ...samples, ...sessions };
        this.view.hear(this.readings);
      })
    ];
    this.follow();
  }

  override dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this.see(false);
    this.forget.forEach(stop => stop());
    this.view.dispose();
    super.dispose();
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.see(true);
  }

  protected override onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this.see(false);
  }

  protected override onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this.see(this.isVisible);
  }

  protected override onBeforeDetach(msg: Message): void {
    this.see(false);
    super.onBeforeDetach(msg);
  }

  protected override onActivateRequest(msg: Message): void {
    super.onActivateRequest(msg);
    this.view.focus();
  }

  private readonly ask: Ask = ({ id, kind }, { from, to }, points, signal) =>
    this.options.api
      .past(kind === 'session' ? { session: id } : { device: id }, Math.max(0, from), to, points, signal)
      .catch((error: unknown) => {
        throw new Error(problemOf(error).detail);
      });

  private see(seen: boolean): void {
    if (seen === this.isSeen) {
      return;
    }
    this.isSeen = seen;
    this.options.onSight(seen);
    this.view.see(seen);
    this.timers.forEach(timer => window.clearInterval(timer));
    this.timers = [];
    document.removeEventListener('visibilitychange', this.onVisibility);
    if (seen) {
      document.addEventListener('visibilitychange', this.onVisibility);
      this.timers = [
        window.setInterval(() => void this.look(), DEVICES_EVERY_MS),
        window.setInterval(() => void this.lookAtProcesses(), PROCESSES_EVERY_MS)
      ];
      void this.look().then(() => this.lookAtProcesses());
    }
  }

  /** While the page was hidden nothing was told: what came in between is asked for. */
  private readonly onVisibility = (): void => {
    if (document.visibilityState === 'visible') {
      this.view.stale();
      void this.look();
    }
  };

  /** Which devices there are. */
  private async look(): Promise<void> {
    try {
      this.devices = await this.options.api.devices();
    } catch (error) {
      if (!this.devices) {
        this.view.setSubjects(this.subjects(), problemOf(error).detail);
      }
      return;
    }
    for (const device of this.devices.items.flatMap(one => [one, ...one.mig_devices])) {
      if (device.sample && !this.readings[device.uuid]) {
        this.readings = { ...this.readings, [device.uuid]: device.sample };
      }
    }
    this.key = '';
    this.follow();
    this.view.hear(this.readings);
  }

  private async lookAtProcesses(): Promise<void> {
    if (document.visibilityState === 'hidden') {
      return;
    }
    const processes = await this.options.api.processes().catch(() => null);
    if (processes && !this.isDisposed) {
      this.view.setProcesses(processes);
    }
  }

  private follow(): void {
    const { link } = this.options.model.state;
    const { words } = this.options;
    const { trans } = words;
    if (link !== this.link) {
      if (this.link === 'away' && link === 'live') {
        this.view.stale();
        void this.look();
      }
      this.link = link;
    }
    const remote = this.devices?.remote;
    this.view.say(
      link === 'away' ? trans.__('The server does not answer; trying again.') : remote ? words.reason(remote) : null
    );
    const subjects = this.subjects();
    const key = JSON.stringify(subjects);
    if (key !== this.key) {
      this.key = key;
      this.view.setSubjects(subjects, this.noDevices());
    }
  }

  private subjects(): Subject[] {
    const { model, pathOf, words } = this.options;
    return subjectsOf(this.devices?.items ?? [], model.state, words, pathOf);
  }

  /** Why the list of devices is empty, once that is known. */
  private noDevices(): string {
    const { words } = this.options;
    if (!this.devices || this.devices.items.length) {
      return '';
    }
    return this.devices.driver
      ? words.reason(this.devices.driver)
      : words.trans.__('No GPU that can be watched from here.');
  }
}
