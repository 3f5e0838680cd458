// A report in one file: words, pictures, figures, and how the model is made again. It needs nothing but a browser.
import { Fragment, render, type VNode } from 'preact';
import type { Schema } from 'zeropoint';
import { kindOf } from './answers/index.ts';
import { bytes, decibels, milliseconds } from './format.ts';
import { commandOf, recipeOf } from './recipe.ts';
import { describe } from './settings.ts';
import { kindWords, summaryOf } from './verdict.ts';
import { type Run, worstCosine, worstSqnr } from './work.ts';

const mostSamples = 24;
const mostLayers = 20;

const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
ul { padding: 0; list-style: none; } .pairs { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); }
.pairs > li { border: 1px solid #8886; border-radius: .5rem; padding: .7rem; overflow-wrap: anywhere; }
.pairs img { max-width: 100%; display: block; } .sides { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; }
.overlay { position: relative; display: block; } .overlay img { width: 100%; } .overlay .over { position: absolute; inset: 0; width: 100%; height: 100%; }
.overlay rect { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
.meter, .visually-hidden { display: none; } svg.numbers { width: 100%; height: 3rem; fill: currentColor; stroke: currentColor; }
pre { overflow: auto; background: #8882; padding: 1rem; border-radius: .5rem; }
`;

const dataUrl = (blob: Blob): Promise<string> =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

/** Masks are drawn on a canvas, which a file cannot hold: as pictures. */
function withPictures(root: HTMLElement): void {
  for (const canvas of root.querySelectorAll('canvas')) {
    const image = document.createElement('img');
    image.src = canvas.toDataURL();
    image.alt = canvas.getAttribute('aria-label') ?? '';
    image.className = canvas.className;
    canvas.replaceWith(image);
  }
}

export async function htmlReport(
  run: Run,
  name: string,
  digest: string | undefined,
  schema: Schema | undefined,
): Promise<Blob> {
  const { judgement, report } = run;
  const { change, answers } = summaryOf(run);
  const kind = judgement && kindOf(judgement.kind);
  const order = (judgement?.samples ?? [])
    .map((sample, index) => ({ sample, shown: run.shown[index] }))
    .sort((a, b) => b.sample.change.size - a.sample.change.size)
    .slice(0, mostSamples);
  const pictures = await Promise.all(order.map(({ shown }) => shown?.picture && dataUrl(shown.picture)));
  const layers = report.layers
    .filter((layer) => layer.error && !Number.isNaN(layer.error.sqnr))
    .sort((a, b) => (a.error?.sqnr ?? 0) - (b.error?.sqnr ?? 0))
    .slice(0, mostLayers);
  const isSeen = kind?.isSeen ?? false;
  const page: VNode = (
    <>
      <h1>{name}, quantized</h1>
      <p>
        {describe(run.settings)}. {new Date(run.at).toISOString().slice(0, 10)}.
      </p>
      <p>
        <strong>{change}</strong>
      </p>
      {answers.map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
      <table>
        <tbody>
          {(
            [
              ['Size', bytes(report.sizeBefore), bytes(report.sizeAfter)],
              ['Time of one run', milliseconds(run.latency.original), milliseconds(run.latency.quantized)],
            ] as const
          ).map(([what, before, after]) => (
            <tr key={what}>
              <th scope="row">{what}</th>
              <td>{before}</td>
              <td>→ {after}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">SQNR, cosine</th>
            <td>{decibels(worstSqnr(run))}</td>
            <td>{worstCosine(run).toFixed(4)}</td>
          </tr>
        </tbody>
      </table>
      {kind && judgement && (
        <>
          <h2>Samples, the worst first</h2>
          <p>{kindWords(run)}</p>
          <ul class="pairs">
            {order.map(({ sample, shown }, index) => (
              <li key={index}>
                <p>
                  <strong>{shown?.name}</strong>: {sample.change.words}
                </p>
                {!isSeen && pictures[index] && <img src={pictures[index]} alt={shown?.name ?? ''} />}
                <div class="sides">
                  {(
                    [
                      ['Original', sample.float],
                      ['Quantized', sample.quantized],
                    ] as const
                  ).map(([title, answer]) => (
                    <div key={title}>
                      {title}
                      <kind.View
                        answer={answer}
                        picture={isSeen ? pictures[index] : undefined}
                        names={judgement.names}
                      />
                    </div>
                  ))}
                </div>
              </li>
            ))}
          </ul>
        </>
      )}
      <h2>Layers with the largest errors</h2>
      <table>
        <tbody>
          {layers.map(({ node, op, output, error }) => (
            <tr key={output}>
              <td>{node}</td>
              <td>{op}</td>
              <td>{decibels(error?.sqnr ?? Number.NaN)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <h2>Make it again</h2>
      {schema && (
        <pre>
          <code>{commandOf(schema, run, name)}</code>
        </pre>
      )}
      <pre>
        <code>{JSON.stringify(recipeOf(run, name, digest), null, 2)}</code>
      </pre>
    </>
  );
  const root = document.createElement('main');
  render(<Fragment>{page}</Fragment>, root);
  withPictures(root);
  const title = document.createElement('title');
  title.textContent = `${name}, quantized`;
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">${title.outerHTML}<style>${style}</style>${root.outerHTML}</html>`;
  render(null, root);
  return new Blob([html], { type: 'text/html' });
}
