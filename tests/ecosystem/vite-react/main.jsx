import { StrictMode, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { engineInfo, Model, Tensor } from 'zeropoint';
import { check, tell } from './check.js';

function App() {
  const [result, setResult] = useState();
  useEffect(() => {
    let current = true;
    const work = check({ engineInfo, Model, Tensor }, new URL('model.onnx', document.baseURI));
    work.then((found) => current && setResult(found)).catch(() => {});
    tell(work);
    return () => {
      current = false;
    };
  }, []);
  return <p>{result ? result.y : 'working'}</p>;
}

createRoot(document.querySelector('main')).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
