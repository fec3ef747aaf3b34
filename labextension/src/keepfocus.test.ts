import { afterEach, beforeEach, expect, it } from 'vitest';

import { keepFocus } from './keepfocus';

let root: HTMLElement;
let end: () => void;

beforeEach(() => {
  document.body.innerHTML = `
    <button id="outside">Cell</button>
    <div id="root">
      <section id="notebook"><div id="card"><button id="get">Get</button><button id="cancel">Cancel</button></div></section>
      <ul><li id="one"><a href="#n">n.ipynb</a><span><button id="release">Release</button></span></li></ul>
    </div>`;
  root = byId('root');
  end = keepFocus(root);
});

afterEach(() => end());

function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) {
    throw new Error(`no #${id}`);
  }
  return found;
}

/** After the observer has looked. */
const looked = (): Promise<void> => new Promise(done => setTimeout(done, 0));

it('goes to what took the place of a button', async () => {
  byId('release').focus();
  byId('one').innerHTML = '<a href="#n">n.ipynb</a><button id="undo">Undo</button><button id="more">More</button>';
  await looked();
  expect(document.activeElement?.id).toBe('undo');
});

it('goes to the next thing to do when nothing took the place, and to the one before at the end', async () => {
  byId('get').focus();
  byId('card').remove();
  await looked();
  expect(document.activeElement?.textContent).toBe('n.ipynb');

  byId('notebook').innerHTML = '<button id="again">Get</button>';
  byId('one').remove();
  await looked();
  expect(document.activeElement?.id).toBe('again');
});

it('leaves the keyboard where somebody has put it', async () => {
  byId('get').focus();
  byId('outside').focus();
  byId('card').remove();
  await looked();
  expect(document.activeElement?.id).toBe('outside');

  byId('release').focus();
  document.body.dispatchEvent(new Event('pointerdown', { bubbles: true }));
  byId('release').blur();
  byId('one').remove();
  await looked();
  expect(document.activeElement).toBe(document.body);
});
