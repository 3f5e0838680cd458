import { env } from 'node:process';
import { engineInfo, Model, Tensor } from 'zeropoint';
import { check } from './check.js';

console.log(JSON.stringify(await check({ engineInfo, Model, Tensor }, env.MODEL)));
