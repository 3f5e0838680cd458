import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Demo } from '../demos/demo.ts';
import { demos } from '../demos/index.ts';
import { bytes } from '../format.ts';
import type { Project } from '../kept.ts';
import { hashOf } from '../route.ts';
import { counted } from '../samples/sample-set.ts';
import { DropZone } from './drop-zone.tsx';

/** A model, its weights, or both in a zip; with samples and labels. Weights may have any name. */
const modelFiles = '.onnx,.onnx_data,.data,.bin,.weight,.zip,image/*,.npy,.npz,.wav,.csv,.tsv,.txt';

export function StartScreen({
  loading,
  projects,
  onFiles,
  onDemo,
  onForget,
}: {
  /** What is being opened; empty: nothing. */
  loading: string;
  projects: readonly Project[];
  onFiles: (files: File[]) => void;
  onDemo: (demo: Demo) => void;
  onForget: (project: Project) => void;
}) {
  const [Hero, setHero] = useState<{ View: ComponentType } | undefined>();
  // It loads after all files that are needed first, and not where bytes cost money.
  useEffect(() => {
    const { connection } = navigator as { connection?: { saveData?: boolean } };
    if (connection?.saveData) return;
    let isCurrent = true;
    const timer = setTimeout(async () => {
      const { default: View } = await import('./hero-demo.tsx');
      if (isCurrent) setHero({ View });
    }, 600);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, []);
  return (
    <div class="start">
      <section class="hero">
        <h1>Quantize neural networks in your browser</h1>
        <p class="lead">
          Drop an ONNX model and a few samples. Your own machine makes the model smaller and faster, shows
          what changed on your samples, and saves standard ONNX. Nothing is uploaded.
        </p>
        <DropZone
          big
          label={loading ? `Opening ${loading}…` : 'Choose a model'}
          accept={modelFiles}
          multiple
          folderLabel="Choose a folder"
          disabled={loading !== ''}
          onFiles={onFiles}
        >
          <p>
            Drop files, a folder or a zip anywhere on this page: the .onnx file, its weights if other files
            have them, and samples: photographs, sounds or arrays. A table can give the right answers.
          </p>
        </DropZone>
      </section>
      <section class="hero-side" aria-label="A network before and after">
        {Hero ? (
          <Hero.View />
        ) : (
          <figure class="hero-demo" aria-hidden="true">
            <div class="hero-sides" />
            <div class="wall" />
            <figcaption class="note" />
          </figure>
        )}
      </section>
      {projects.length > 0 && (
        <section class="left-work" aria-labelledby="left-work">
          <h2 id="left-work">Work that you left</h2>
          <ul>
            {projects.map((project) => (
              <li key={project.id}>
                <a href={hashOf(project.id, project.runs ? 'runs' : 'samples')}>
                  <strong class="name">{project.name}</strong>
                  <span class="note">
                    {bytes(project.size)}, {project.runs ? counted(project.runs, 'run') : 'not quantized yet'}
                    , {new Date(project.savedAt).toLocaleDateString()}
                  </span>
                </a>
                <button type="button" class="quiet" onClick={() => onForget(project)}>
                  Forget<span class="visually-hidden"> {project.name}</span>
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section class="demos" aria-labelledby="demos">
        <h2 id="demos">Or try a demo</h2>
        <div class="demo-list">
          {demos.map((demo) => (
            <button
              key={demo.id}
              type="button"
              class="demo"
              disabled={loading !== ''}
              onClick={() => onDemo(demo)}
            >
              <strong>{demo.title}</strong>
              <span>{demo.summary}</span>
            </button>
          ))}
        </div>
      </section>
    </div>
  );
}
