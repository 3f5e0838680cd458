const { engineInfo, Model, Tensor } = require('zeropoint');
const { check } = require('./check.js');

check({ engineInfo, Model, Tensor }, process.argv[2]).then((result) => console.log(JSON.stringify(result)));
