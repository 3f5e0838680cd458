import { configure, engineInfo, Model, Tensor } from 'zeropoint/run';
import { check, tell } from './check.js';

// This bundler emits no files for a package: dist/run-worker.js and dist/wasm/ are copied beside the bundle.
configure({ wasmBase: 'zeropoint/wasm/', workerUrl: 'zeropoint/run-worker.js' });
tell(check({ engineInfo, Model, Tensor }, new URL('model.onnx', document.baseURI)));
