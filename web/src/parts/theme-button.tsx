import { useLayoutEffect, useState } from 'preact/hooks';

type Theme = 'auto' | 'light' | 'dark';
const order: readonly Theme[] = ['auto', 'light', 'dark'];

function stored(): Theme {
  try {
    const value = localStorage.getItem('theme') as Theme | null;
    return value && order.includes(value) ? value : 'auto';
  } catch {
    return 'auto'; // storage can be forbidden
  }
}

/** A sun, a moon, or a disc that is half of each. */
function Sign({ theme }: { theme: Theme }) {
  return (
    <svg viewBox="0 0 20 20" width="18" height="18" fill="none" stroke="currentColor" aria-hidden="true">
      {theme === 'dark' ? (
        <path d="M16 12.5A7 7 0 0 1 7.5 4a7 7 0 1 0 8.5 8.500z" fill="currentColor" stroke-linejoin="round" />
      ) : (
        <circle cx="10" cy="10" r={theme === 'light' ? 3.6 : 7} stroke-width="1.6" />
      )}
      {theme === 'auto' && <path d="M10 3a7 7 0 0 1 0 14z" fill="currentColor" stroke="none" />}
      {theme === 'light' && (
        <path
          d="M10 1.500v2M10 16.500v2M1.5 10h2M16.5 10h2M4 4l1.4 1.400M14.6 14.600l1.4 1.400M4 16l1.4-1.400M14.6 5.400L16 4"
          stroke-width="1.6"
          stroke-linecap="round"
        />
      )}
    </svg>
  );
}

export function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(stored);
  // Before anything is painted.
  useLayoutEffect(() => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem('theme', theme);
    } catch {
      // Not kept, then.
    }
  }, [theme]);
  const next = order[(order.indexOf(theme) + 1) % order.length] as Theme;
  return (
    <button
      type="button"
      class="quiet theme"
      onClick={() => setTheme(next)}
      aria-label={`Colours: ${theme}. Change to ${next}.`}
      title={`Colours: ${theme}. Change to ${next}.`}
    >
      <Sign theme={theme} />
      <span class="theme-name">{theme === 'auto' ? 'Auto' : theme === 'light' ? 'Light' : 'Dark'}</span>
    </button>
  );
}
