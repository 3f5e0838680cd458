/**
 * zeropoint: quantizes ONNX models, runs them on integer kernels, and compares them with their originals. In browsers,
 * workers and Node; nothing leaves the machine.
 */
import { browser } from './browser.ts';
import { setPlatform } from './platform.ts';

setPlatform(browser);

export * from './api.ts';
