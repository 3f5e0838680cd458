export default {
  output: 'export',
  turbopack: { root: new URL('..', import.meta.url).pathname }, // where this project's copy and its tools are
};
