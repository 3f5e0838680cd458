// As `webpack` does it by itself: nothing in it is about the package.
import webpack from 'webpack';

webpack({ mode: 'production', entry: './main.js', performance: { hints: false } }, (error, stats) => {
  const wrong = error ?? (stats.hasErrors() ? new Error(stats.toString('errors-only')) : undefined);
  if (wrong) throw wrong;
});
