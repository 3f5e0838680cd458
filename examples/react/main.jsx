import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { compare, Model, syntheticSamples } from 'zeropoint';

const kilobytes = (bytes) => `${(bytes / 1000).toFixed(0)} KB`;

/** Quantizes a file with noise as samples, and gives the numbers that the table shows. */
async function measure(file, onProgress) {
  const model = await Model.load(file);
  const samples = [...syntheticSamples(model.inputs, { count: 4 })];
  const { model: small, report } = await model.quantize({ calibration: samples, onProgress });
  const { outputs, latency } = await compare(model, small, samples);
  await small.dispose();
  await model.dispose();
  return { report, outputs, latency };
}

function Comparison() {
  const [status, setStatus] = useState('Choose a model.');
  const [result, setResult] = useState();

  const choose = async (event) => {
    setResult(undefined);
    try {
      setResult(await measure(event.target.files[0], ({ phase }) => setStatus(phase)));
      setStatus('Done.');
    } catch (error) {
      setStatus(error.message);
    }
  };

  return (
    <>
      <label>
        Model <input type="file" accept=".onnx" onChange={choose} />
      </label>
      <p role="status">{status}</p>
      {result && (
        <table>
          <tbody>
            <tr>
              <th scope="row">Size</th>
              <td>{kilobytes(result.report.sizeBefore)}</td>
              <td>{kilobytes(result.report.sizeAfter)}</td>
            </tr>
            <tr>
              <th scope="row">Time</th>
              <td>{result.latency.reference.toFixed(2)} ms</td>
              <td>{result.latency.candidate.toFixed(2)} ms</td>
            </tr>
            {result.outputs.map(({ output, sqnr }) => (
              <tr key={output}>
                <th scope="row">{output}</th>
                <td colSpan={2}>{sqnr.toFixed(1)} dB</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

createRoot(document.querySelector('#root')).render(<Comparison />);
