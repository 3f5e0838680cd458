import { engineInfo, Model, Tensor } from 'zeropoint';
import { check } from './check.js';

globalThis.onmessage = async ({ data }) => {
  try {
    postMessage(await check({ engineInfo, Model, Tensor }, data));
  } catch (error) {
    postMessage({ error: String(error) });
  }
};
