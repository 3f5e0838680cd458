import { defineConfig } from 'vite';

export default defineConfig({
  // The package finds its worker and its WebAssembly beside its modules: they must stay where they are.
  optimizeDeps: { exclude: ['zeropoint'] },
  worker: { format: 'es' },
  server: {
    // A page has threads only if it is isolated across origins.
    headers: {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    },
  },
});
