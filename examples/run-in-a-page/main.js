import { Model, samplesFromFiles, syntheticSamples } from 'zeropoint';

const element = (id) => document.querySelector(`#${id}`);
const say = (text) => {
  element('status').textContent = text;
};
const failed = (error) => say([error.message, error.details?.hint].filter(Boolean).join(': '));

/** A session keeps prepared weights: make it once, run it often, and give its memory back with dispose(). */
let session;
let inputs;

async function open(file) {
  element('run').disabled = true;
  await session?.dispose();
  const model = await Model.load(file);
  inputs = model.inputs;
  session = await model.createSession();
  await model.dispose(); // the session has its own hold on the weights
  say(`${file.name}: ${inputs.map(({ name, type, dims }) => `${name} ${type}[${dims}]`).join(', ')}`);
  element('run').disabled = false;
}

async function run() {
  const { files } = element('sample');
  const samples = files.length ? samplesFromFiles(files, inputs) : syntheticSamples(inputs, { count: 1 });
  for await (const feeds of samples) {
    const outputs = await session.run(feeds);
    say(`${session.lastRunMs.toFixed(2)} ms`);
    element('outputs').replaceChildren(
      ...Object.entries(outputs).map(([name, { type, dims, data }]) => {
        const item = document.createElement('li');
        item.textContent = `${name}: ${type}[${dims}] ${Array.from(data.subarray(0, 8)).join(', ')}`;
        return item;
      }),
    );
  }
}

element('model').addEventListener('change', () => open(element('model').files[0]).catch(failed));
element('run').addEventListener('click', () => run().catch(failed));
