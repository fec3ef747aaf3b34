import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { takeFocus } from './takefocus';

let end: () => void;

beforeEach(() => {
  vi.useFakeTimers();
  document.body.innerHTML = `
    <div id="palette"><input id="search"></div>
    <div id="cell" tabindex="0"></div>
    <div id="panel"><select id="memory"></select><button id="get">Get</button></div>`;
  byId('search').focus();
  end = takeFocus(byId('panel'), () => document.querySelector('#memory'));
});

afterEach(() => {
  end();
  vi.useRealTimers();
});

function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) {
    throw new Error(`no #${id}`);
  }
  return found;
}

function hasFocus(): string | undefined {
  vi.advanceTimersByTime(40);
  return document.activeElement?.id;
}

it('brings the keyboard to the first thing to do', () => {
  expect(hasFocus()).toBe('memory');
});

it('takes it back from a notebook that takes it, at once or later', () => {
  byId('cell').focus();
  expect(hasFocus()).toBe('memory');
  vi.advanceTimersByTime(1000);
  byId('cell').focus();
  expect(hasFocus()).toBe('memory');
});

it('takes it back when it goes nowhere, as when a palette is hidden', () => {
  hasFocus();
  byId('memory').blur();
  expect(hasFocus()).toBe('memory');
});

it('leaves it where it is in there', () => {
  hasFocus();
  byId('get').focus();
  expect(hasFocus()).toBe('get');
});

it('takes it back to where the person has gone in there meanwhile', () => {
  hasFocus();
  byId('memory').dispatchEvent(new KeyboardEvent('keydown', { key: 'Tab', bubbles: true }));
  byId('get').focus();
  vi.advanceTimersByTime(100);
  byId('cell').focus();
  expect(hasFocus()).toBe('get');
});

it.each([
  ['a key', new KeyboardEvent('keydown', { key: 'Enter', bubbles: true })],
  ['Tab, out of it', new KeyboardEvent('keydown', { key: 'Tab', bubbles: true })],
  ['the mouse', new Event('pointerdown', { bubbles: true })]
])('lets the person take it elsewhere: %s', (_what, event) => {
  hasFocus();
  byId('memory').dispatchEvent(event);
  byId('cell').focus();
  expect(hasFocus()).toBe('cell');
});

it('ends after a while', () => {
  vi.advanceTimersByTime(2000);
  byId('cell').focus();
  expect(hasFocus()).toBe('cell');
});
