import { UUID } from '@lumino/coreutils';

import type { KernelPreview, Offer, SessionRequest } from './_wire';
import type { Api } from './api';
import { type Model, type Notebook, problemOf, type Wish } from './model';
import { EMPTY, SPAN_S, withHistory } from './series';

const POINTS = 150;
const EXTEND_S = 3600;

export type Carry = 'all' | 'none';

/** The variables that are lost, or null where they are all lost and nobody knows their names. */
function lost(preview: KernelPreview | null, carry: Carry): string[] | null {
  if (preview?.restart_needed === false) {
    return [];
  }
  if (!preview?.carry_supported) {
    return null;
  }
  return [...preview.left.map(({ name }) => name), ...(carry === 'none' ? preview.carried : [])];
}

/**
 * Whether more is lost than what the person has agreed to, or something could be kept that they were told could not.
 * A kernel that only starts meanwhile changes what is known of it, and nothing for the worse.
 */
function worse(now: KernelPreview | null, agreed: KernelPreview | null, carry: Carry): boolean {
  if (now?.warning && now.warning.code !== agreed?.warning?.code) {
    return true;
  }
  const before = lost(agreed, carry);
  const loses = lost(now, carry);
  return loses === null ? before !== null : loses.some(name => !before?.includes(name));
}

/** What a person can do, and what it changes in the model. */
export class Actions {
  private looking = 0;

  constructor(
    private readonly api: Api,
    private readonly model: Model,
    /** Starts a kernel for the notebook in front where it has none, and answers with its id. */
    private readonly ensureKernel: (path: string) => Promise<string | null>
  ) {}

  /** Ask where the wish can be had. */
  async look(): Promise<void> {
    const turn = ++this.looking;
    const { notebook, wish } = this.model.state;
    try {
      const offers = await this.api.offers(wish.memoryBytes, wish.durationS, notebook?.path ?? null);
      if (turn === this.looking) {
        this.model.set({ offers: offers.items, offersProblem: null, advice: offers.advice ?? null });
      }
    } catch (error) {
      if (turn === this.looking) {
        this.model.set({ offersProblem: problemOf(error) });
      }
    }
  }

  wish(change: Partial<Wish>): void {
    this.model.set({ wish: { ...this.model.state.wish, ...change }, card: null });
    void this.look();
  }

  /** Open the card that says what Get would do to the kernel; looks into the kernel meanwhile. */
  async consider(offer: Offer | null, notebook: Notebook): Promise<void> {
    const card = {
      offer,
      path: notebook.path,
      kernelId: notebook.kernelId,
      preview: null,
      previewing: notebook.kernelId !== null,
      key: UUID.uuid4(),
      sending: false,
      overtaken: false,
      problem: null
    };
    this.model.set({ card });
    await this.reconsider();
  }

  /** Look into the kernel of the open card (anew: a cell has run since). */
  async reconsider(): Promise<void> {
    const { card } = this.model.state;
    if (!card?.kernelId || card.sending) {
      return;
    }
    const preview = await this.api.preview(card.kernelId).catch(() => null);
    const now = this.model.state.card;
    if (now?.key === card.key && !now.sending) {
      this.model.set({ card: { ...now, preview, previewing: false } });
    }
  }

  /** The notebook of the open card has a kernel by now: say what Get would do to that. */
  async follow(kernelId: string): Promise<void> {
    const { card } = this.model.state;
    if (card) {
      this.model.set({ card: { ...card, kernelId, previewing: true } });
      await this.reconsider();
    }
  }

  dismiss(): void {
    this.model.set({ card: null });
  }

  /** Do what the card says; where the kernel has run since, say what is lost now instead. */
  async get(carry: Carry): Promise<void> {
    const { card, wish } = this.model.state;
    if (!card || card.sending) {
      return;
    }
    this.model.set({ card: { ...card, sending: true, overtaken: false, problem: null } });
    try {
      const preview = card.kernelId === null ? null : await this.api.preview(card.kernelId).catch(() => null);
      if (card.kernelId !== null && worse(preview, card.preview, carry)) {
        this.model.set({ card: { ...card, preview, previewing: false, overtaken: true, problem: null } });
        return;
      }
      const kernelId = card.kernelId ?? (await this.ensureKernel(card.path));
      const free = card.offer ? (card.offer.estimate?.p90_s ?? (card.offer.free > 0 ? 0 : 1)) <= 0 : this.anyFree();
      const body: SessionRequest = {
        kind: 'kernel',
        ...(card.offer ? { flavor: card.offer.flavor, pools: [card.offer.pool] } : { memory_bytes: wish.memoryBytes }),
        duration_s: wish.durationS,
        attach: kernelId === null ? { path: card.path, carry } : { kernel_id: kernelId, carry },
        // Where one has to wait, the kernel is not restarted behind one's back: it is ready, and one starts it.
        on_ready: free ? 'hold' : 'notify'
      };
      this.model.put(await this.api.request(body, card.key));
      this.model.set({ card: null });
      void this.look();
    } catch (error) {
      const now = this.model.state.card;
      if (now?.key === card.key) {
        this.model.set({ card: { ...now, sending: false, problem: problemOf(error) } });
      }
    }
  }

  claim(id: string): Promise<void> {
    return this.model.during(`claim:${id}`, id, async () => this.model.put(await this.api.claim(id)));
  }

  extend(id: string): Promise<void> {
    return this.model.during(`extend:${id}`, id, async () => this.model.put(await this.api.extend(id, EXTEND_S)));
  }

  release(id: string): Promise<void> {
    return this.model.during(`release:${id}`, id, async () => this.model.put(await this.api.release(id)));
  }

  resume(id: string): Promise<void> {
    return this.model.during(`resume:${id}`, id, async () => this.model.put(await this.api.resume(id)));
  }

  undo(id: string): Promise<void> {
    return this.model.during(`undo:${id}`, id, async () => this.model.put(await this.api.undo(id)));
  }

  /** Show or hide why a session waits. */
  async explain(id: string): Promise<void> {
    if (this.model.state.explanations[id]) {
      this.model.set({ explanations: { ...this.model.state.explanations, [id]: undefined } });
      return;
    }
    await this.model.during(`explain:${id}`, id, async () => {
      const explanation = await this.api.explain(id);
      this.model.set({ explanations: { ...this.model.state.explanations, [id]: explanation } });
    });
  }

  /** What the server remembers of a session's last minutes; without it the chart begins now. */
  async remember(id: string): Promise<void> {
    const history = await this.api.history(id, this.model.now() - SPAN_S, POINTS).catch(() => null);
    if (history) {
      const { series } = this.model.state;
      this.model.set({ series: { ...series, [id]: withHistory(series[id] ?? EMPTY, history) } });
    }
  }

  /** The state of affairs without the stream: at the start, and when it is away. */
  async refresh(): Promise<void> {
    const [pools, sessions] = await Promise.all([this.api.pools(), this.api.sessions()]);
    this.model.hear('pools', JSON.stringify(pools));
    this.model.hear('sessions', JSON.stringify(sessions));
  }

  private anyFree(): boolean {
    return (this.model.state.offers ?? []).some(offer => offer.free > 0);
  }
}
