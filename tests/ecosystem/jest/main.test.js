import { engineInfo, Model, Tensor } from 'zeropoint';
import { check } from './check.js';

test('it runs', async () => {
  const result = await check({ engineInfo, Model, Tensor }, process.env.MODEL);
  expect(result.y).toMatch(/^0\.\d{5}$/);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}, 60_000); // the machine may be busy
