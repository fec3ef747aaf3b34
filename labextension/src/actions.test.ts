import { describe, expect, it } from 'vitest';

import type { KernelPreview, SessionRequest } from './_wire';
import { Actions } from './actions';
import type { Api } from './api';
import { Model } from './model';
import { session } from './testing';

const NOTEBOOK = { path: 'fit.ipynb', name: 'fit.ipynb', kernelId: 'k1' };

function kernel(): { api: Api; variables: string[]; asked: SessionRequest[] } {
  const variables: string[] = [];
  const asked: SessionRequest[] = [];
  const api = {
    preview: (id: string): Promise<KernelPreview> =>
      Promise.resolve({
        kernel_id: id,
        restart_needed: true,
        carry_supported: true,
        carried: [...variables],
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
  return { api: api as unknown as Api, variables, asked };
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
});
