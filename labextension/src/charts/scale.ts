/**
 * The colours of a heat strip. Lightness alone carries the value, from near the page's background (0 %) to far from
 * it (100 %), so that it reads in light and dark and for every kind of colour vision; hue only helps.
 */
export type Rgb = readonly [number, number, number];

const LIGHT = ['#eef0dc', '#a5d5c0', '#3f9cbc', '#2a57a3', '#1b1b57'];
const DARK = ['#222c40', '#2f5f93', '#3d99a6', '#a2cf8c', '#fbf6bd'];

export const STEPS = 101;

function parsed(hex: string): Rgb {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

function linear(channel: number): number {
  const c = channel / 255;
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
}

function gamma(value: number): number {
  const c = Math.min(1, Math.max(0, value));
  return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
}

/** How light a colour is, from 0 to 1, as contrast is reckoned. */
export function luminance([r, g, b]: Rgb): number {
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

/** Mixed in a space where equal steps look equal. */
function mixed(one: Rgb, other: Rgb, share: number): Rgb {
  const a = oklab(one);
  const b = oklab(other);
  return fromOklab([0, 1, 2].map(i => (a[i] ?? 0) + ((b[i] ?? 0) - (a[i] ?? 0)) * share));
}

function oklab([red, green, blue]: Rgb): number[] {
  const [r, g, b] = [linear(red), linear(green), linear(blue)];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s
  ];
}

function fromOklab([L = 0, a = 0, b = 0]: number[]): Rgb {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    gamma(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s)
  ];
}

function table(stops: readonly string[]): readonly Rgb[] {
  const colours = stops.map(parsed);
  const parts = colours.length - 1;
  return Array.from({ length: STEPS }, (_, step) => {
    const place = (step / (STEPS - 1)) * parts;
    const part = Math.min(parts - 1, Math.floor(place));
    const one = colours[part];
    const other = colours[part + 1];
    return one && other ? mixed(one, other, place - part) : ([0, 0, 0] as const);
  });
}

const TABLES = { light: table(LIGHT), dark: table(DARK) };

export function colours(dark: boolean): readonly Rgb[] {
  return dark ? TABLES.dark : TABLES.light;
}

/** The colour of a percentage. */
export function colourOf(percent: number, dark: boolean): Rgb {
  const step = Math.round(Math.min(100, Math.max(0, percent)));
  return colours(dark)[step] ?? [0, 0, 0];
}

/** The legend's bar. */
export function gradient(dark: boolean): string {
  const stops = [0, 25, 50, 75, 100].map(percent => `rgb(${colourOf(percent, dark).join(' ')}) ${percent}%`);
  return `linear-gradient(to right, ${stops.join(', ')})`;
}

/** The pixels of a strip, one row high: transparent where nothing is known, so that the hatching behind it shows. */
export function painted(percents: Float32Array, dark: boolean): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(4 * percents.length);
  percents.forEach((percent, pixel) => {
    if (!Number.isNaN(percent)) {
      const [r, g, b] = colourOf(percent, dark);
      out[4 * pixel] = r;
      out[4 * pixel + 1] = g;
      out[4 * pixel + 2] = b;
      out[4 * pixel + 3] = 255;
    }
  });
  return out;
}
