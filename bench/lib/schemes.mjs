// The schemes that the tables of models compare.

/** In every scheme the options not named are the package's defaults. */
export const schemes = {
  'static int8, per channel, QDQ': { mode: 'static', activations: 'int8' },
  'static uint8, per tensor, QDQ': { mode: 'static', activations: 'uint8', perChannel: false },
  'static uint8, per channel, QOperator': { mode: 'static', activations: 'uint8', format: 'qoperator' },
  'dynamic int8': { mode: 'dynamic' },
  'weight-only int8, per channel': { mode: 'weight-only' },
  'weight-only int4, blocks of 32': { mode: 'weight-only', weights: 'int4' },
  'weight-only uint4, MatMulNBits': { mode: 'weight-only', weights: 'uint4', format: 'qoperator' },
  float16: { mode: 'float16' },
};
