import { describe, expect, it } from 'vitest';

import type { KernelPreview, SessionRequest } from './_wire';
import { Actions } from './actions';
import type { Api } from './api';
import { Model } from './model';
import { session } from './testing';

const NOTEBOOK = { path: 'fit.ipynb', name: 'fit.ipynb', kernelId: 'k1' };

function kernel(): { api: Api; variables: string[]; asked: SessionRequest[]; state: { answers: boolean } } {
  const variables: string[] = [];
  const state = { answers: true };
  const asked: SessionRequest[] = [];
  const api = {
    preview: (id: string): Promise<KernelPreview> =>
      Promise.resolve({
        kernel_id: id,
        restart_needed: true,
        carry_supported: state.answers,
        carried: state.answers ? [...variables] : [],
        left: [],
        stack: [],
        warning: null
      }),
    offers: () => Promise.resolve({ items: [], advice: null }),
    request: (body: SessionRequest) => {
      asked.push(body);
      return Promise.resolve(session());
    }
  };
  return { api: api as unknown as Api, variables, asked, state };
}

describe('Get', () => {
  it('does not drop variables that came after the person was told there are none', async () => {
    const { api, variables, asked } = kernel();
    const model = new Model();
    const actions = new Actions(api, model, () => Promise.resolve(null));
    await actions.consider(null, NOTEBOOK);
    expect(model.state.card?.preview?.carried).toEqual([]);

    variables.push('model');
    await actions.get('none');
    expect(asked).toEqual([]);
    expect(model.state.card).toMatchObject({ overtaken: true, sending: false, preview: { carried: ['model'] } });

    await actions.get('all');
    expect(asked.map(body => body.attach?.carry)).toEqual(['all']);
    expect(model.state.card).toBeNull();
  });

  it('says anew what is lost when a cell has run while the card is open', async () => {
    const { api, variables } = kernel();
    const model = new Model();
    const actions = new Actions(api, model, () => Promise.resolve(null));
    await actions.reconsider();
    expect(model.state.card).toBeNull();
    await actions.consider(null, NOTEBOOK);
    variables.push('x');
    await actions.reconsider();
    expect(model.state.card).toMatchObject({ overtaken: false, preview: { carried: ['x'] } });
  });

  it('goes on when a kernel that was starting has nothing to lose', async () => {
    const { api, asked, state } = kernel();
    const model = new Model();
    const actions = new Actions(api, model, () => Promise.resolve(null));
    state.answers = false;
    await actions.consider(null, NOTEBOOK);
    expect(model.state.card?.preview?.carry_supported).toBe(false);
    state.answers = true;
    await actions.get('none');
    expect(asked.map(body => body.attach?.carry)).toEqual(['none']);
  });

  it('asks again when what was said to be lost can be kept', async () => {
    const { api, variables, asked, state } = kernel();
    const model = new Model();
    const actions = new Actions(api, model, () => Promise.resolve(null));
    variables.push('model');
    state.answers = false;
    await actions.consider(null, NOTEBOOK);
    state.answers = true;
    await actions.get('none');
    expect(asked).toEqual([]);
    expect(model.state.card).toMatchObject({ overtaken: true, preview: { carried: ['model'] } });
  });

  it('asks again when the kernel does not answer any more', async () => {
    const { api, variables, asked, state } = kernel();
    const model = new Model();
    const actions = new Actions(api, model, () => Promise.resolve(null));
    variables.push('model');
    await actions.consider(null, NOTEBOOK);
    state.answers = false;
    await actions.get('all');
    expect(asked).toEqual([]);
    expect(model.state.card?.overtaken).toBe(true);
  });

  it('looks into a kernel that starts while the card is open', async () => {
    const { api, variables } = kernel();
    const model = new Model();
    const actions = new Actions(api, model, () => Promise.resolve(null));
    await actions.consider(null, { ...NOTEBOOK, kernelId: null });
    expect(model.state.card?.preview).toBeNull();
    variables.push('x');
    await actions.follow('k1');
    expect(model.state.card).toMatchObject({ kernelId: 'k1', previewing: false, preview: { carried: ['x'] } });
  });
});
