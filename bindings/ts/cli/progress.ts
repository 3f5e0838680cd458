// How far the work is: a bar on a terminal, else lines, or JSON for programs. All of it goes to standard error.
import { SingleBar } from 'cli-progress';
import { type Command, Option } from 'commander';
import type { Progress, TrainingProgress } from '../node.ts';
import { type CommonOptions, json, plain } from './common.ts';

const forms = ['auto', 'bar', 'lines', 'json', 'none'] as const;

/** Milliseconds between lines of one phase. */
const pauses: Readonly<Record<string, number>> = { lines: 10_000, json: 100 };

/** After addCommonOptions(): it is in the same group. */
export const addProgressOption = (command: Command): Command =>
  command.addOption(
    new Option(
      '--progress <how>',
      'how far the work is: a bar, lines, an object of JSON a line, or nothing (default: a bar on a terminal, else lines)',
    ).choices(forms),
  );

export interface Terminal {
  progress(progress: Progress): void;
  warn(text: string): void;
  /** What is good to know, and nothing wrong. */
  note(text: string): void;
  /** Takes the bar away. */
  end(): void;
}

const trainingWords = ({ epoch, epochs, loss, stepMilliseconds, remainingMilliseconds }: TrainingProgress) =>
  ` epoch ${epoch}/${epochs}, loss ${loss.toPrecision(3)}, ${stepMilliseconds.toFixed(0)} ms a step, ${Math.ceil(remainingMilliseconds / 1000)} s left`;

/** `count`: of all that is to be done, where the work does not say. `of`: the model, where there are several. */
export function terminal({ quiet, progress: form }: CommonOptions, count = 0, of?: string): Terminal {
  const how =
    form === 'json' || (form !== undefined && form !== 'auto')
      ? form
      : process.stderr.isTTY
        ? 'bar'
        : 'lines';
  const shows = how !== 'none' && !quiet;
  const about = of === undefined ? '' : `${plain(of)}: `;
  let bar: SingleBar | undefined;
  let [phaseBefore, saidAt] = ['', 0];
  let isSaid = true;
  const say = (kind: 'note' | 'warning', text: string) => {
    if (quiet) return;
    bar?.stop();
    bar = undefined;
    process.stderr.write(
      how === 'json'
        ? json({ [kind]: { ...(of !== undefined && { model: of }), message: text } }, 0)
        : `${kind === 'note' ? '' : `${kind}: `}${about}${plain(text)}\n`,
    );
  };
  return {
    progress({ phase, done, total, training }) {
      if (!shows) return;
      const most = total || count;
      const more = phase === 'train' && training ? trainingWords(training) : '';
      if (how === 'bar') {
        if (!bar) {
          bar = new SingleBar({
            format: ` ${about}{phase} {bar} {percentage}%{more}`,
            barsize: 32,
            hideCursor: true,
            clearOnComplete: true,
            stopOnComplete: false,
            noTTYOutput: true,
            stream: process.stderr,
          });
          bar.start(1, 0, { phase: phase.padEnd(10), more: '' });
        }
        bar.update(most > 0 ? Math.min(done / most, 1) : 0, { phase: phase.padEnd(10), more });
        return;
      }
      const now = performance.now();
      if (phase !== phaseBefore) {
        phaseBefore = phase;
        isSaid = false;
        // A phase that is over at once is not worth a line of a log.
        if (how === 'lines') return;
      }
      if (isSaid && now - saidAt < (pauses[how] ?? 0)) return;
      [isSaid, saidAt] = [true, now];
      if (how === 'json') {
        const said = {
          ...(of !== undefined && { model: of }),
          phase,
          done: Math.round(1000 * done) / 1000, // parts of a sample count too
          total: most,
          ...(training && { training }),
        };
        process.stderr.write(json({ progress: said }, 0));
        return;
      }
      const share = most > 0 ? ` ${Math.floor(100 * Math.min(done / most, 1))} %` : '';
      process.stderr.write(`progress: ${about}${phase}${share}${more}\n`);
    },
    warn: (text) => say('warning', text),
    note: (text) => say('note', text),
    end() {
      bar?.stop();
      bar = undefined;
    },
  };
}
