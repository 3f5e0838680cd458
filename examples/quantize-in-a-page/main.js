import { compare, imagePresets, Model, samplesFromFiles } from 'zeropoint';

const element = (id) => document.querySelector(`#${id}`);
const say = (text) => {
  element('status').textContent = text;
};
element('preset').append(...Object.keys(imagePresets).map((name) => new Option(name)));

async function quantize(signal) {
  const [file] = element('model').files;
  const model = await Model.load(file);
  // Files are read when it is their turn. Calibration and the comparison each make the series anew.
  const samples = () =>
    samplesFromFiles(element('samples').files, model.inputs, { preset: element('preset').value });
  const { model: small, report } = await model.quantize({
    calibration: samples,
    onProgress: ({ phase, done, total }) => say(`${phase}: ${done}${total ? ` of ${total}` : ''}`),
    signal,
  });
  const { outputs } = await compare(model, small, samples(), { signal });

  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([await small.toBytes()]));
  link.download = file.name.replace(/(\.onnx)?$/, '.int8.onnx');
  link.textContent = `Download ${link.download}`;
  element('download').replaceChildren(link);
  const agreement = outputs.map(({ output, sqnr }) => `${output} ${sqnr.toFixed(1)} dB`).join(', ');
  say(`${report.sizeBefore} → ${report.sizeAfter} bytes; agreement with the original: ${agreement}`);
  await small.dispose();
  await model.dispose();
}

element('quantize').addEventListener('click', async () => {
  const controller = new AbortController();
  element('cancel').onclick = () => controller.abort();
  element('quantize').disabled = true;
  element('cancel').disabled = false;
  // A ZeropointError says what is wrong, in which node or file, and what helps.
  await quantize(controller.signal).catch((error) =>
    say([error.message, error.details?.hint].filter(Boolean).join(': ')),
  );
  element('quantize').disabled = false;
  element('cancel').disabled = true;
});
