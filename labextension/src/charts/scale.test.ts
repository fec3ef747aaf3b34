import { describe, expect, it } from 'vitest';

import { colourOf, colours, gradient, luminance, painted, type Rgb } from './scale';

/** How colours look without one kind of cones (Machado, Oliveira and Fernandes 2009, full strength, linear RGB). */
const VISION: Record<string, number[][]> = {
  usual: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
};

function seen(colour: Rgb, kind: string): number {
  const linear = colour.map(c => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const [r = 0, g = 0, b = 0] = (VISION[kind] ?? []).map(row =>
    Math.min(1, Math.max(0, row.reduce((sum, factor, i) => sum + factor * (linear[i] ?? 0), 0)))
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: number, other: number): number {
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}

describe.each([
  ['light', false],
  ['dark', true]
])('the colours of a strip on a %s page', (_, dark) => {
  it.each(Object.keys(VISION))('grow steadily away from the page for %s', kind => {
    const lights = colours(dark).map(colour => seen(colour, kind));
    for (let i = 1; i < lights.length; i++) {
      const [before = 0, after = 0] = [lights[i - 1], lights[i]];
      expect(dark ? after - before : before - after, `step ${i}`).toBeGreaterThan(-0.002);
    }
  });

  it.each(Object.keys(VISION))('tell quarters apart for %s', kind => {
    const lights = [0, 25, 50, 75, 100].map(percent => seen(colourOf(percent, dark), kind));
    for (let i = 1; i < lights.length; i++) {
      expect(contrast(lights[i - 1] ?? 0, lights[i] ?? 0)).toBeGreaterThan(1.25);
    }
    expect(contrast(lights[0] ?? 0, lights[4] ?? 0)).toBeGreaterThan(7);
  });

  it('leave out what is not known', () => {
    const pixels = painted(Float32Array.from([0, NaN, 100, 250]), dark);
    expect(pixels[3]).toBe(255);
    expect([...pixels.slice(4, 8)]).toEqual([0, 0, 0, 0]);
    expect([...pixels.slice(8, 11)]).toEqual([...colourOf(100, dark)]);
    expect([...pixels.slice(12, 15)]).toEqual([...colourOf(100, dark)]);
  });
});

it('the legend has the same colours', () => {
  expect(gradient(false)).toContain(`rgb(${colourOf(50, false).join(' ')}) 50%`);
});

it('luminance is that of contrast', () => {
  expect(luminance([255, 255, 255])).toBeCloseTo(1);
  expect(luminance([0, 0, 0])).toBe(0);
});
