// A report in one file: words, pictures, figures, and how the model is made again. It needs nothing but a browser.
import { renderToString } from 'preact-render-to-string';
import type { Recipe, Schema } from 'zeropoint';
import { kindOf, type Pixels } from './answers/index.ts';
import { worstCosine, worstSqnr } from './figures.ts';
import { bytes, cosineWords, decibels, milliseconds } from './format.ts';
import { commandOf, recipeOf, recipeText } from './recipe.ts';
import { fileOf } from './samples/picture.ts';
import { describe } from './settings.ts';
import { kindWords, summaryOf } from './verdict.ts';
import type { Run } from './work.ts';

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

/** What a report is about. */
export interface Reported
  extends Pick<
    Run,
    'judgement' | 'report' | 'comparison' | 'latency' | 'accuracy' | 'synthetic' | 'shown' | 'at'
  > {
  /** The original's file. */
  name: string;
  /** What was done to it, in words. */
  how: string;
  command: string | undefined;
  recipe: Recipe;
}

async function dataUrl(blob: Blob): Promise<string> {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return `data:${blob.type};base64,${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))}`;
}

/** The report of the page. */
export async function htmlReport(
  run: Run,
  name: string,
  digest: string | undefined,
  schema: Schema | undefined,
): Promise<Blob> {
  const command = schema && commandOf(schema, run, name);
  const about = { ...run, name, how: describe(run.settings), command, recipe: recipeOf(run, name, digest) };
  return new Blob([await reportText(about, fileOf)], { type: 'text/html' });
}

/** The text of a report. `fileOf`: pixels as the file of a picture; undefined where that cannot be made. */
export async function reportText(
  run: Reported,
  fileOf: (pixels: Pixels) => Promise<Blob | undefined>,
): Promise<string> {
  const { judgement, report } = run;
  const title = `${run.name}, quantized`;
  const { change, answers } = summaryOf(run);
  const kind = judgement && kindOf(judgement.kind);
  const order = (judgement?.samples ?? [])
    .map((sample, index) => ({ sample, shown: run.shown[index] }))
    .sort((a, b) => b.sample.change.size - a.sample.change.size)
    .slice(0, mostSamples);
  const pictures = await Promise.all(order.map(({ shown }) => shown?.picture && dataUrl(shown.picture)));
  const painted = await Promise.all(
    order.map(async ({ sample }) => {
      const paint = async (answer: unknown) => {
        const file = kind?.paint && (await fileOf(kind.paint(answer)));
        return file && (await dataUrl(file));
      };
      return { float: await paint(sample.float), quantized: await paint(sample.quantized) };
    }),
  );
  const layers = report.layers
    .filter((layer) => layer.error && !Number.isNaN(layer.error.sqnr))
    .sort((a, b) => (a.error?.sqnr ?? 0) - (b.error?.sqnr ?? 0))
    .slice(0, mostLayers);
  const isSeen = kind?.isSeen ?? false;
  const page = (
    <main>
      <h1>{title}</h1>
      <p>
        {run.how}. {new Date(run.at).toISOString().slice(0, 10)}.
      </p>
      <p>
        <strong>{change}</strong>
      </p>
      {answers.map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
      <table>
        <tbody>
          {[
            ['Size', bytes(report.sizeBefore), `→ ${bytes(report.sizeAfter)}`],
            ...(run.latency.runs > 0
              ? [
                  [
                    'Time of one run',
                    milliseconds(run.latency.original),
                    `→ ${milliseconds(run.latency.quantized)}`,
                  ],
                ]
              : []),
            ...(run.comparison
              ? [['SQNR, cosine', decibels(worstSqnr(run)), cosineWords(worstCosine(run))]]
              : []),
          ].map(([what, before, after]) => (
            <tr key={what}>
              <th scope="row">{what}</th>
              <td>{before}</td>
              <td>{after}</td>
            </tr>
          ))}
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
                      ['Original', 'float'],
                      ['Quantized', 'quantized'],
                    ] as const
                  ).map(([side, of]) => (
                    <div key={side}>
                      {side}
                      <kind.View
                        answer={sample[of]}
                        painted={painted[index]?.[of]}
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
      {layers.length > 0 && (
        <>
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
        </>
      )}
      <h2>Make it again</h2>
      {run.command !== undefined && (
        <pre>
          <code>{run.command}</code>
        </pre>
      )}
      <pre>
        <code>{recipeText(run.recipe)}</code>
      </pre>
    </main>
  );
  return `<!doctype html>${renderToString(
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width" />
        <title>{title}</title>
        <style dangerouslySetInnerHTML={{ __html: style }} />
      </head>
      <body>{page}</body>
    </html>,
  )}`;
}
