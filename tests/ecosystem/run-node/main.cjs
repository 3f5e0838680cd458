const run = require('zeropoint/run');
const { check } = require('./check.js');

// Both ways to load it, and the main entry beside it in one program.
(async () => {
  const required = await check(run, process.env.MODEL);
  const imported = await check(await import('zeropoint/run'), process.env.MODEL);
  const whole = await check(await import('zeropoint'), process.env.MODEL);
  if (imported.y !== required.y || whole.y !== required.y || !(whole.layers > 0))
    throw new Error(JSON.stringify({ required, imported, whole }));
  console.log(JSON.stringify(required));
})();
