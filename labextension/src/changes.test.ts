import { describe, expect, it } from 'vitest';

import { keyed, type Tree, unkeyed, withChanges } from './changes';

const pools: Tree = {
  as_of: 1,
  items: [
    { name: 'local', reason: null, flavors: [{ name: 't4', free: 1 }, { name: 'a100', free: 2 }] },
    { name: 'batch', reason: { code: 'x', params: {} }, flavors: [] }
  ]
};

describe('changes', () => {
  it('leave what they do not name as it was, also its order', () => {
    const now = withChanges(keyed('pools', pools), {
      topic: 'pools',
      as_of: 2,
      changed: { items: { local: { flavors: { a100: { free: 1 } } }, batch: { reason: null } } },
      gone: []
    });
    expect(unkeyed('pools', now)).toEqual({
      as_of: 2,
      items: [
        { name: 'local', reason: null, flavors: [{ name: 't4', free: 1 }, { name: 'a100', free: 1 }] },
        { name: 'batch', reason: null, flavors: [] }
      ]
    });
    expect(unkeyed('pools', keyed('pools', pools))).toEqual(pools);
  });

  it('bring sessions, and take them away', () => {
    const before = keyed('sessions', { as_of: 1, items: [{ id: 'a', state: 'queued' }, { id: 'b', state: 'active' }] });
    const now = withChanges(before, {
      topic: 'sessions',
      as_of: 2,
      changed: { items: { a: { state: 'ready' }, c: { id: 'c', state: 'queued' } } },
      gone: [['items', 'b']]
    });
    expect(unkeyed('sessions', now).items).toEqual([{ id: 'a', state: 'ready' }, { id: 'c', state: 'queued' }]);
  });

  it('date samples that are as new as the rest, and leave an old one its time', () => {
    const before = { as_of: 10, samples: {}, sessions: { a: { taken_at: 9.5, x: 1 }, b: { taken_at: 1, x: 1 } } };
    const event = { topic: 'telemetry' as const, as_of: 11, changed: { sessions: { a: { x: 2 }, b: { x: 2 } } }, gone: [] };
    expect(withChanges(before, event).sessions).toEqual({ a: { taken_at: 11, x: 2 }, b: { taken_at: 1, x: 2 } });
  });
});
