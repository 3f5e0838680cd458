import { engineInfo, Model, Tensor } from 'zeropoint';
import { check } from './check.js';

check({ engineInfo, Model, Tensor }, process.argv[2]).then((result) => console.log(JSON.stringify(result)));
