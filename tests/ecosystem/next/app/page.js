'use client';

import { useEffect } from 'react';
import { engineInfo, Model, Tensor } from 'zeropoint';
import { check, tell } from '../check.js';

export default function Page() {
  useEffect(() => tell(check({ engineInfo, Model, Tensor }, new URL('model.onnx', document.baseURI))), []);
  return <p>working</p>;
}
