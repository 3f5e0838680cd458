// zeropoint keeps its engine in a worker by itself, in a page and here. A worker of your own is for what surrounds it:
// reading data, preparing samples, looking at the results.
import { Model } from 'zeropoint';

async function quantize(file) {
  const model = await Model.load(file);
  // Weights alone: no samples are needed.
  const { model: small, report } = await model.quantize({
    mode: 'weight-only',
    onProgress: ({ phase }) => postMessage(phase),
  });
  const bytes = await small.toBytes();
  await small.dispose();
  await model.dispose();
  return `${report.layersQuantized} of ${report.layers.length} layers, ${file.size} → ${bytes.length} bytes`;
}

addEventListener('message', async ({ data: file }) => {
  postMessage(await quantize(file).catch((error) => error.message));
});
