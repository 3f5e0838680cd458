import { tell } from './check.js';

const worker = new Worker(new URL('./own-worker.js', import.meta.url), { type: 'module' });
tell(
  new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(new URL('model.onnx', document.baseURI).href);
  }),
);
