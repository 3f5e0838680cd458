import { engineInfo, Model, Tensor } from 'zeropoint/inline';
import { check } from './check.js';

addEventListener('message', (event) => {
  const [port] = event.ports;
  event.waitUntil(
    check({ engineInfo, Model, Tensor }, event.data).then(
      (result) => port.postMessage(result),
      (error) => port.postMessage({ error: String(error) }),
    ),
  );
});
