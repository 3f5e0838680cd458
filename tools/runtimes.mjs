#!/usr/bin/env node
// docs/RUNTIMES.md, from the engine's own table (src/quant/runtimes.cpp): node tools/runtimes.mjs writes it, after a build
// of the package.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
export const documentFile = join(root, 'docs', 'RUNTIMES.md');

/** The text of docs/RUNTIMES.md. `runtimes`: choices().runtimes. */
export const documentOf = (runtimes) => `# Where files run

A quantized file runs in many programs (runtimes), and each takes other types and operators. The option \`runtime\`
(\`--runtime\`; “Where the file runs” in the page) names the one that your file is for:

    zeropoint quantize model.onnx -o small.onnx --calibration samples/ --runtime tensorrt

- Options that you leave open are set to suit the runtime. The report's warnings name them.
- An option that you choose and that the runtime does not take is an error, which names the option.
- The finished graph is checked node by node. A warning names each part that the runtime does not take, such as an operator
  that the model had before, and says what the runtime does with it.
- The opset is the lowest that the file allows.

[GLOSSARY.md](GLOSSARY.md) explains the words.

| \`runtime\` | | files were checked |
|---|---|---|
${runtimes.map(({ name, title, checked }) => `| \`${name}\` | ${title} | ${checked} |`).join('\n')}

“By these rules alone” means that no file ran in this runtime: no machine here has an NVIDIA GPU, a Qualcomm chip or WebGPU.
Comments in \`src/quant/runtimes.cpp\` name the sources of the rules.

${runtimes
  .map(
    ({ name, title, takes }) => `## \`${name}\`: ${title}

${takes.map((rule) => `- ${rule}`).join('\n')}
`,
  )
  .join('\n')}
\`node tools/runtimes.mjs\` writes this page.
`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { choices } = await import(pathToFileURL(join(root, 'dist', 'node.js')).href);
  writeFileSync(documentFile, documentOf((await choices()).runtimes));
  process.exit(0);
}
