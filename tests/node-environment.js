// Linked into the tests' WebAssembly build: gives the program Node's environment variables.
Module.preRun = () => Object.assign(ENV, process.env);
