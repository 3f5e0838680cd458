import { engineInfo, Model, Tensor } from 'zeropoint/run';
import { check, tell } from './check.js';

tell(check({ engineInfo, Model, Tensor }, new URL('model.onnx', document.baseURI)));
