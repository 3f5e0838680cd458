import { engineInfo, Model, Tensor } from 'zeropoint';
import { check } from './check.js';

check({ engineInfo, Model, Tensor }, process.env.MODEL).then((result) => console.log(JSON.stringify(result)));
