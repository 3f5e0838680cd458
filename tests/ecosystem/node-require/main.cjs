const { engineInfo, Model, Tensor } = require('zeropoint');
const { check } = require('./check.js');

check({ engineInfo, Model, Tensor }, process.env.MODEL).then((result) => console.log(JSON.stringify(result)));
