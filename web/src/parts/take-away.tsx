import { useState } from 'preact/hooks';
import type { Schema } from 'zeropoint';
import { bytes } from '../format.ts';
import { codesOf, commandOf, recipeOf, recipeText } from '../recipe.ts';
import { jsonNumber, save } from '../save.ts';
import { describe } from '../settings.ts';
import { isUntouched } from '../verdict.ts';
import type { Run } from '../work.ts';
import { ScrollRegion } from './scroll-region.tsx';

const base = (name: string) => name.replace(/\.onnx$/i, '');
const asJson = (value: unknown) =>
  new Blob([JSON.stringify(value, jsonNumber, 2)], { type: 'application/json' });

/** The files, and how they are made again. */
export function TakeAway({
  run,
  name,
  size,
  digest,
  schema,
}: {
  run: Run;
  /** Of the original's file. */
  name: string;
  size: number;
  digest: string | undefined;
  schema: Schema | undefined;
}) {
  const { report, files, settings } = run;
  const [isReporting, setReporting] = useState(false);
  const isDoubtful = isUntouched(run) || run.synthetic;
  return (
    <section class="take-away" aria-labelledby={`take-${run.id}`}>
      <h2 id={`take-${run.id}`}>Take it away</h2>
      <div class="actions">
        <button
          type="button"
          class={isDoubtful ? '' : 'primary'}
          onClick={() => {
            for (const file of files) save(file.name, file.blob);
          }}
        >
          {files.length > 1
            ? `Download the model and its weights (${files.length} files)`
            : 'Download the model'}
        </button>
        <button
          type="button"
          disabled={isReporting}
          onClick={async () => {
            setReporting(true);
            try {
              const { htmlReport } = await import('../html-report.tsx');
              save(`${base(name)}.report.html`, await htmlReport(run, name, digest, schema));
            } finally {
              setReporting(false);
            }
          }}
        >
          Report with pictures
        </button>
        <button
          type="button"
          onClick={() => {
            const { latency, comparison, accuracy } = run;
            const { verdict, kind } = run.judgement ?? {};
            save(
              `${base(name)}.report.json`,
              asJson({ model: name, settings, latency, comparison, accuracy, verdict, kind, report }),
            );
          }}
        >
          Report as JSON
        </button>
        <button
          type="button"
          onClick={() =>
            save(
              `${base(name)}.recipe.json`,
              new Blob([recipeText(recipeOf(run, name, digest))], { type: 'application/json' }),
            )
          }
        >
          Recipe
        </button>
      </div>
      <p class="note">
        Standard ONNX, {describe(settings)}. {report.layersQuantized} of {report.layers.length} layers
        quantized. Your original ({bytes(size)}) is untouched.
      </p>
      <details>
        <summary>Make it again: command and code</summary>
        {schema && run.report.samples > 0 && run.synthetic ? (
          <p class="note">The samples were made up here: the command has none.</p>
        ) : null}
        {schema && <Code title="On the command line" code={commandOf(schema, run, name)} />}
        {codesOf(run, name, digest).map(({ title, code }) => (
          <Code key={title} title={title} code={code} />
        ))}
      </details>
    </section>
  );
}

function Code({ title, code }: { title: string; code: string }) {
  const [copied, setCopied] = useState(false);
  return (
    <figure class="code">
      <figcaption>
        {title}
        <button
          type="button"
          class="quiet"
          onClick={() =>
            navigator.clipboard?.writeText(code).then(
              () => setCopied(true),
              () => undefined,
            )
          }
        >
          {copied ? 'Copied' : 'Copy'}
          <span class="visually-hidden">: {title}</span>
        </button>
      </figcaption>
      <ScrollRegion label={title}>
        <pre>
          <code>{code}</code>
        </pre>
      </ScrollRegion>
    </figure>
  );
}
