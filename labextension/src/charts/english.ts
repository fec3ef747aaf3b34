import type { TranslationBundle } from '@jupyterlab/translation';

function filled(text: string, values: readonly unknown[]): string {
  return text.replace(/%(\d+)/g, (whole, place: string) => {
    const value = values[Number(place) - 1];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : whole;
  });
}

const one = (text: string, ...values: unknown[]): string => filled(text, values);
const some = (single: string, plural: string, n: number, ...values: unknown[]): string =>
  filled(n === 1 ? single : plural, [n, ...values]);

/** The strings as they are written, for where no translator is: a widget in a notebook's output. */
export const english: TranslationBundle = {
  __: one,
  gettext: one,
  _n: some,
  ngettext: some,
  _p: (_context: string, text: string, ...values: unknown[]) => filled(text, values),
  pgettext: (_context: string, text: string, ...values: unknown[]) => filled(text, values),
  _np: (_context: string, single: string, plural: string, n: number, ...values: unknown[]) =>
    some(single, plural, n, ...values),
  npgettext: (_context: string, single: string, plural: string, n: number, ...values: unknown[]) =>
    some(single, plural, n, ...values),
  dcnpgettext: (
    _domain: string,
    _context: string,
    single: string,
    plural: string,
    n: number,
    ...values: unknown[]
  ) => some(single, plural, n, ...values)
};
