// The page sends a file and gets sentences back. Everything else happens in the worker.
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
const status = document.querySelector('#status');

worker.onmessage = ({ data }) => {
  status.textContent = data;
};
worker.onerror = ({ message }) => {
  status.textContent = message;
};
document.querySelector('#model').addEventListener('change', ({ target }) => {
  worker.postMessage(target.files[0]);
});
