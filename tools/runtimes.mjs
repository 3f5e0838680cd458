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

\`runtime\` (\`--runtime\`, “Where it is to run” in the page) says what a file is for:

    zeropoint quantize model.onnx -o small.onnx --calibration samples/ --runtime tensorrt

Options that nobody chose become what the runtime takes, and the report's warnings say which; what was chosen and is not
taken is an error that names the option. The file that comes out is then gone through node by node: what the runtime does
not take of it (an operator that the model had before, say) is named in a warning, with what becomes of it. Opsets are as low
as the file allows.

| \`runtime\` | | files were checked |
|---|---|---|
${runtimes.map(({ name, title, checked }) => `| \`${name}\` | ${title} | ${checked} |`).join('\n')}

No machine here has a GPU of NVIDIA's, a Qualcomm chip or WebGPU: “by these rules alone” means that nothing of it ran. The
sources of the rules are in the comments of \`src/quant/runtimes.cpp\`.

${runtimes
  .map(
    ({ name, title, takes }) => `## \`${name}\`: ${title}

${takes.map((rule) => `- ${rule}`).join('\n')}
`,
  )
  .join('\n')}
This page is written by \`node tools/runtimes.mjs\`.
`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { choices } = await import(pathToFileURL(join(root, 'dist', 'node.js')).href);
  writeFileSync(documentFile, documentOf((await choices()).runtimes));
  process.exit(0);
}
