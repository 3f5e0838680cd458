import type { Plugin } from 'vite';
/** A plugin that writes down which packages of npm's went into a bundle. */
export function listPackages(bundle: 'package' | 'page' | 'site' | 'single'): Plugin;
