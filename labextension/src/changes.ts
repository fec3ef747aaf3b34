import type { ChangesEvent } from './_wire';

/** An event as nested objects: what is a list of things with names on the wire is an object by their names here. */
export type Tree = Record<string, unknown>;

/** A sample that is not older than this when its event is sent, in seconds, is as new as the event. */
const FRESH_S = 2;

type Topic = ChangesEvent['topic'];

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function byName(list: unknown, name: string, inner: (item: Tree) => Tree = item => item): Tree {
  return Object.fromEntries((list as Tree[]).map(item => [String(item[name]), inner(item)]));
}

/** An event as it comes, with its lists by name. */
export function keyed(topic: Topic, event: Tree): Tree {
  switch (topic) {
    case 'telemetry':
      return event;
    case 'sessions':
      return { ...event, items: byName(event.items, 'id') };
    case 'pools':
      return { ...event, items: byName(event.items, 'name', pool => ({ ...pool, flavors: byName(pool.flavors, 'name') })) };
  }
}

/** And back. */
export function unkeyed(topic: Topic, tree: Tree): Tree {
  switch (topic) {
    case 'telemetry':
      return tree;
    case 'sessions':
      return { ...tree, items: Object.values(tree.items as Tree) };
    case 'pools':
      return {
        ...tree,
        items: Object.values(tree.items as Record<string, Tree>).map(pool => ({
          ...pool,
          flavors: Object.values(pool.flavors as Tree)
        }))
      };
  }
}

function merged(before: Tree, changed: Tree): Tree {
  const out = { ...before };
  for (const [key, value] of Object.entries(changed)) {
    const known = out[key];
    out[key] = isTree(value) && isTree(known) ? merged(known, value) : value;
  }
  return out;
}

function without(tree: Tree, [key, ...rest]: readonly string[]): Tree {
  if (key === undefined) {
    return tree;
  }
  const inner = tree[key];
  if (rest.length === 0) {
    return Object.fromEntries(Object.entries(tree).filter(([name]) => name !== key));
  }
  return isTree(inner) ? { ...tree, [key]: without(inner, rest) } : tree;
}

/** When each sample was taken: of those that are as new as their event, that is said once for all. */
function dated(before: Tree, now: Tree, { changed, as_of }: ChangesEvent): Tree {
  const out = { ...now };
  for (const kind of ['samples', 'sessions']) {
    const old = before[kind] as Record<string, Tree>;
    const told = (changed[kind] ?? {}) as Record<string, Tree | undefined>;
    out[kind] = Object.fromEntries(
      Object.entries(now[kind] as Record<string, Tree>).map(([key, sample]) => {
        const said = told[key]?.taken_at;
        const was = old[key]?.taken_at;
        const fresh = typeof was === 'number' && Math.abs((before.as_of as number) - was) < FRESH_S;
        return [key, said === null || (said === undefined && fresh) ? { ...sample, taken_at: as_of } : sample];
      })
    );
  }
  return out;
}

/** An event as it is after a change. */
export function withChanges(before: Tree, event: ChangesEvent): Tree {
  const now = (event.gone ?? []).reduce((tree, path) => without(tree, path), merged(before, event.changed));
  const whole = event.topic === 'telemetry' ? dated(before, now, event) : now;
  return { ...whole, as_of: event.as_of };
}
