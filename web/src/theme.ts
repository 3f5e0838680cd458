// The page's colours, for code that draws: they follow the theme.
import { useEffect, useState } from 'preact/hooks';

export type Rgb = readonly [number, number, number];

/** A colour that CSS wrote as #rrggbb, or #rgb. */
export function rgbOf(hex: string): Rgb {
  const digits = hex.length === 4 ? [...hex.slice(1)].map((digit) => digit + digit).join('') : hex.slice(1);
  const number = Number.parseInt(digits, 16);
  return [(number >> 16) & 255, (number >> 8) & 255, number & 255];
}

/** The value of a custom property of the page, as it is now. */
export const themeColour = (property: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(property).trim();

/** Calls back whenever the theme changes; returns a function that ends that. */
export function onThemeChange(callback: () => void): () => void {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  dark.addEventListener('change', callback);
  const chosen = new MutationObserver(callback);
  chosen.observe(document.documentElement, { attributeFilter: ['data-theme'] });
  return () => {
    dark.removeEventListener('change', callback);
    chosen.disconnect();
  };
}

/** A number that is another one with each theme. */
export function useTheme(): number {
  const [count, setCount] = useState(0);
  useEffect(() => onThemeChange(() => setCount((before) => before + 1)), []);
  return count;
}
