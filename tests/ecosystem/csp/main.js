import { check, tell } from './check.js';
import { engineInfo, Model, Tensor } from './node_modules/zeropoint/dist/index.js';

tell(check({ engineInfo, Model, Tensor }, new URL('model.onnx', document.baseURI)));
